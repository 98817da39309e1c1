"""Files appear whole or not at all, and nothing is left beside them."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from mindefense.errors import OutputError
from mindefense.files import check_writable, replacing, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    return path


@pytest.fixture
def blocked(tmp_path):
    """A path in a folder that cannot be made, whoever runs the tests: a file has its name."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "result.json"


def test_the_new_takes_the_place_of_the_old(old):
    with replacing(old) as beside:
        assert beside != old
        assert old.parent in beside.parents  # the same disk, or taking the place would be a copy
        assert beside.suffix == ".txt"  # MindSpore and NumPy look at it
        beside.write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.txt"]


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


needs_modes = pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")


@needs_modes
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_a_private_file_is_its_owners_alone_whatever_was_there(before, umask, tmp_path):
    path, seen = tmp_path / "members.npz", []
    if before is not None:
        path.write_bytes(b"old")
        path.chmod(before)
    outside = os.umask(umask)
    try:
        with replacing(path, private=True) as beside:
            seen.append(mode_of(beside))  # before anything is in it
            np.savez(beside, is_member=np.ones(3, bool))
            seen.append(mode_of(beside))
        write_text(tmp_path / "members.csv", "0,True\n", private=True)
        write_text(tmp_path / "others.csv", "nobody in particular\n")
    finally:
        os.umask(outside)
    assert [*seen, mode_of(path), mode_of(tmp_path / "members.csv")] == [0o600] * 4
    assert mode_of(tmp_path / "others.csv") == 0o666 & ~umask
    assert np.load(path)["is_member"].tolist() == [True] * 3
    assert names(tmp_path) == ["members.csv", "members.npz", "others.csv"]


@needs_modes
def test_a_private_file_that_fails_leaves_the_old_one(old):
    def fail():
        with replacing(old, private=True) as beside:
            beside.write_text("half of it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ValueError])
def test_the_old_survives_a_failure(old, error):
    def fail():
        with replacing(old) as beside:
            beside.write_text("half of it")
            raise error

    with pytest.raises(error):
        fail()
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


def test_the_old_survives_a_full_disk(old, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"^cannot write .*result.txt: No space left on device; choose") as caught:
        write_text(old, "new")
    assert isinstance(caught.value.__cause__, OSError)
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


def test_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "é\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xa9\n"
    assert names(tmp_path) == ["a", "b", "c.txt"]


def test_paths_may_be_strings(tmp_path):
    write_text(f"{tmp_path}/c.txt", "text")
    assert names(tmp_path) == ["c.txt"]


@pytest.mark.parametrize("write", [lambda path: write_text(path, ""), lambda path: write_json(path, {})])
def test_a_folder_that_cannot_be_made(blocked, write):
    with pytest.raises(OutputError, match=r"cannot write .*: .+; choose a writable folder") as caught:
        write(blocked)
    assert "\n" not in str(caught.value)
    assert names(blocked.parent.parent) == ["file"]


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == ["taken"]


def test_json(tmp_path):
    value = {"name": "Defense für é", "none": None, "list": [1, 0.1, True], "in": {"b": 1, "a": 2}}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "für é" in text
    assert text.endswith("}\n")
    assert text.count("\n") > 5  # for people


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_nan(tmp_path, number):
    (tmp_path / "x.json").write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": [number]})
    assert (tmp_path / "x.json").read_text() == "old"
    assert names(tmp_path) == ["x.json"]


def test_check_writable(tmp_path):
    assert check_writable(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert check_writable(str(tmp_path)) == tmp_path
    assert names(tmp_path) == ["folder", "new"]


def test_check_writable_says_no(blocked):
    with pytest.raises(OutputError, match="cannot write"):
        check_writable(blocked.parent)
    assert names(blocked.parent.parent) == ["file"]


def test_what_a_killed_process_left_is_swept_by_the_next_writer(tmp_path):
    code = (
        "import os, sys\nfrom mindefense.files import replacing\n"
        "with replacing(sys.argv[1]) as beside:\n    beside.write_text('half')\n    os._exit(9)\n"
    )
    path = tmp_path / "x.json"
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    ours = left.with_name(left.name.rpartition(".part")[0].rpartition(".")[0] + f".{os.getppid()}.part")
    elsewhere = left.with_name(".x.json.00000000.1.part")
    for other in (ours, elsewhere):
        other.mkdir()
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted((ours, elsewhere, path))
