"""What the command makes of a file of results, and which files it refuses as damaged or none of its own."""

import json

import pytest

from mindefense import cli
from mindefense.errors import DataError, PackageError
from mindefense.reports import report
from mindefense.reports.report import read_results

REFUSED = {
    "nothing": (None, ["cannot read", "No such file", "results.json or comparison.json"]),
    "no JSON": ("{", ["cannot read", "it is not JSON"]),
    "deep JSON": ("[" * 100_000, ["it is not JSON"]),
    "another file": ('{"schema_version": 4}', ["holds no results", "give results.json"]),
    "a list": ("[1]", ["holds no results"]),
    "before all": ('{"schema_version": 2, "attacks": []}', ["from 3 to", "got 2", "evaluate again"]),
    "from later": ('{"schema_version": 99, "attacks": []}', ["got 99", "update mindefense"]),
    "without a version": ('{"attacks": []}', ["got None"]),
    "damaged": ('{"schema_version": 5, "attacks": []}', ["is damaged: $ has no 'warnings'", "evaluate again"]),
    "damaged and old": ('{"schema_version": 4, "attacks": []}', ["is damaged", "no 'verdict'", "evaluate again"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_result_is_refused_in_one_line(name, tmp_path, capsys):
    text, words = REFUSED[name]
    path = tmp_path / "in" / "results.json"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ({"attacks": 1}, r"\$\.attacks is 1, not array"),
        ({"attacks": [{}]}, r"\$\.attacks\[0\] has no 'name'"),
        ({"verdict": None}, r"\$\.verdict is None, not object"),
        ({"checks": [1]}, r"\$\.checks\[0\] is 1, not object"),
        ({"settings": []}, r"\$\.settings is \[\], not object"),
        ({"seed": -1}, r"\$\.seed is -1, not at least 0"),
        ({"evidence": {}}, r"\$\.evidence has no 'created'"),
    ],
)
def test_damage_inside_is_one_line_too(damage, fault, recorded, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({**recorded, **damage}), encoding="utf-8")
    with pytest.raises(DataError, match=rf"r\.json is damaged: {fault}; evaluate again$"):
        read_results(tmp_path / "r.json")


def test_what_a_later_version_adds_is_no_damage(recorded, tmp_path):
    held = {**recorded, "more": 1, "settings": {**recorded["settings"], "more": [2]}}
    (tmp_path / "r.json").write_text(json.dumps(held), encoding="utf-8")
    assert read_results(tmp_path / "r.json") == held


@pytest.mark.parametrize("error", [KeyError("auc"), TypeError("x"), AttributeError("x"), ValueError("x"), OSError("x")])
@pytest.mark.parametrize("at", ["evaluation_page", "as_markdown"])
def test_a_mistake_of_ours_is_not_blamed_on_the_file(at, error, recorded, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(report, at, fail)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recorded), encoding="utf-8")
    assert cli.main(["report", str(path)]) == 1
    out, err = capsys.readouterr()
    said = f"no page can be made of mine.json ({type(error).__name__}: {error}); this is a bug of mindefense"
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert "please report it with the file" in err
    assert "damaged" not in err
    assert cli.main(["report", str(path), "--json"]) == 1
    held = json.loads(capsys.readouterr().out)
    assert held["exit_code"] == 1
    assert said in held["error"]
    with pytest.raises(PackageError) as caught:
        cli.main(["report", str(path), "--debug"])
    assert caught.value.__cause__ is error
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_command_puts_files_beside_or_where_told(recorded, kinds, tmp_path, capsys):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recorded), encoding="utf-8")
    assert cli.main(["report", str(path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"mine.json", "report.html", "report.md"}
    assert "Made from mine.json alone" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "new"), "--figures"]) == 0
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"report.html", "report.md", "figures"}
    path.write_text(json.dumps(kinds["old comparison"]), encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "c")]) == 0
    assert {file.name for file in (tmp_path / "c").iterdir()} == {"comparison.html", "comparison.md"}
    assert capsys.readouterr().out.count("wrote ") == 3
