"""One call leaves every file of an evaluation."""

import csv
import json
import os
import stat

import pytest

import mindefense
from mindefense.errors import OutputError
from mindefense.reports.results import to_json
from mindefense.reports.save import save_evaluation

FILES = ("results.json", "attacks.csv", "records.csv", "report.html", "report.md")


def test_every_file_is_there_and_about_this_evaluation(evaluation, tmp_path):
    out = tmp_path / "new" / "folder"
    paths = save_evaluation(evaluation, out)
    assert paths == tuple(out / name for name in FILES)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)  # and nothing that was left lying
    held = json.loads(paths[0].read_text(encoding="utf-8"))  # its figures are made up and no results
    assert held == json.loads(json.dumps(to_json(evaluation)))
    with paths[1].open(newline="", encoding="utf-8") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == [result.name for result in evaluation.attacks]
    assert paths[2].read_text(encoding="utf-8").splitlines()[1].startswith("5,True,0.75,")
    for path in paths[3:]:
        assert "mindarmour-lr" in path.read_text(encoding="utf-8"), path


@pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")
def test_the_file_that_lists_members_is_its_owners_alone(evaluation, tmp_path):
    (tmp_path / "records.csv").write_text("of an older version, for all to read")
    (tmp_path / "records.csv").chmod(0o644)
    outside = os.umask(0o022)
    try:
        paths = save_evaluation(evaluation, tmp_path)
    finally:
        os.umask(outside)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {name: 0o600 if name == "records.csv" else 0o644 for name in FILES}


def test_an_undefended_evaluation_has_the_same_files(undefended, tmp_path):
    assert [path.name for path in save_evaluation(undefended, str(tmp_path))] == list(FILES)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["defense"] is None


def test_figures_are_written_if_asked_for(evaluation, tmp_path):
    paths = save_evaluation(evaluation, tmp_path, figures=True)
    pictures = paths[len(FILES) :]
    assert pictures
    assert {path.parent for path in pictures} == {tmp_path / "figures"}
    assert {path.suffix for path in pictures} == {".svg", ".png"}
    assert all(path.stat().st_size for path in paths)


def test_a_folder_that_cannot_be_is_one_line_and_leaves_nothing(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write") as caught:
        save_evaluation(evaluation, tmp_path / "file" / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_it_is_at_the_front_door():
    assert mindefense.save_evaluation is save_evaluation
