"""Recorded vectors behind a defense in two runs or more: the bytes of one, or a line that says why not."""

import errno
import json
import os

import numpy as np
import pytest
from bulk_vectors import NOISED, OTHER_KEY, PROBS, ROWS, C, N, defend, files, in_one_go
from toy_defenses import BASELINES, SEARCHES, toy_defense

from mindefense.data.vectors import open_vectors
from mindefense.defenses import Rounding, bulk
from mindefense.errors import InputError, OutputError

CHUNKS = 4


class Stop(Exception):
    """Somebody ends it."""


def stopping_at(call):
    """Ends a run at its `call`-th news."""
    heard = []

    def on_progress(rows):
        heard.append(rows)
        if len(heard) == call:
            raise Stop

    return on_progress


def interrupted(recorded, defense, out, chunk, **options):
    """A run that ends while `chunk` is being reshaped."""
    with pytest.raises(Stop):
        defend(recorded, defense, out, on_progress=stopping_at(chunk), **options)


@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))
@pytest.mark.parametrize("name", ["rounding-1", "laplace-output-2", "defenmi"])
def test_resumed_at_any_chunk(name, chunk, recorded, tmp_path):
    defense = {**BASELINES, **SEARCHES}[name](C)
    whole = defend(recorded, defense, tmp_path / "whole")
    interrupted(recorded, defense, tmp_path / "out", chunk)
    counted = {"defended_outputs.npy.part.json"} if chunk > 1 else set()
    assert set(files(tmp_path / "out")) == {"defended_outputs.npy.part"} | counted
    with (tmp_path / "out" / "defended_outputs.npy.part").open("ab") as stream:
        stream.write(b"half a row")  # as a process leaves it that ends while it writes
    heard = []
    tally = defend(recorded, defense, tmp_path / "out", resume=True, on_progress=heard.append)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    done = ROWS * (chunk - 1)
    assert sum(heard) == N
    assert heard[0] == (done or ROWS)
    assert (tally.resumed, tally.rows, tally.l1_sum) == (done, N, whole.l1_sum)


def test_interrupted_again_and_again(recorded, tmp_path):
    defense = Rounding(1)
    defend(recorded, defense, tmp_path / "whole")
    for _ in range(CHUNKS - 1):  # what an earlier run has done is the first news
        done = (tmp_path / "out" / "defended_outputs.npy.part.json").exists()
        interrupted(recorded, defense, tmp_path / "out", 2 + done, resume=True)
    defend(recorded, defense, tmp_path / "out", resume=True)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_nothing_is_left_to_do(recorded, tmp_path):
    defense = Rounding(1)
    first = defend(recorded, defense, tmp_path / "out")
    before = files(tmp_path / "out")
    again = defend(recorded, defense, tmp_path / "out", resume=True, on_progress=lambda rows: None)
    assert (again.resumed, again.l1_sum) == (N, first.l1_sum)
    assert files(tmp_path / "out") == before
    # Ended between the two renamings.
    (tmp_path / "out" / "defended_outputs.json").rename(tmp_path / "out" / "defended_outputs.npy.part.json")
    assert defend(recorded, defense, tmp_path / "out", resume=True).resumed == N
    assert files(tmp_path / "out") == before


def test_without_resume_it_starts_over(recorded, tmp_path):
    interrupted(recorded, Rounding(2), tmp_path / "out", 3)
    defend(recorded, Rounding(1), tmp_path / "whole")
    assert defend(recorded, Rounding(1), tmp_path / "out").resumed == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_an_old_count_does_not_speak_of_a_new_part(recorded, tmp_path):
    interrupted(recorded, Rounding(1), tmp_path / "out", 3)
    interrupted(recorded, Rounding(1), tmp_path / "out", 1)
    assert set(files(tmp_path / "out")) == {"defended_outputs.npy.part"}


def test_an_earlier_result_stays_until_there_is_another(recorded, tmp_path):
    defend(recorded, Rounding(2), tmp_path / "out")
    before = files(tmp_path / "out")
    interrupted(recorded, Rounding(1), tmp_path / "out", 3)
    left = files(tmp_path / "out")
    assert {name: left[name] for name in before} == before
    defend(recorded, Rounding(1), tmp_path / "out", resume=True)
    defend(recorded, Rounding(1), tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def another_row(folder):
    probs = PROBS.copy()
    probs[-1] = probs[-1, ::-1]
    np.savez(folder / "other.npz", probs=probs, noised_logits=NOISED)
    return {"recorded": open_vectors(folder / "other.npz")}


def fewer_rows(folder):
    np.savez(folder / "other.npz", probs=PROBS[:-1], noised_logits=NOISED[:-1])
    return {"recorded": open_vectors(folder / "other.npz")}


# What is changed before --resume → words of the one line.
CHANGES = {
    "a row": (another_row, ["other.npz", "big.npz", "SHA-256"]),
    "number of rows": (fewer_rows, ["expected rows 49", "got 50"]),
    "setting": (lambda folder: {"defense": BASELINES["laplace-output-2"](C)}, ["laplace-output-2", "output-0.01"]),
    "defense": (lambda folder: {"defense": Rounding(1)}, ["expected defense rounding-1", "laplace-output-0.01"]),
    "key": (lambda folder: {"key": OTHER_KEY}, ["expected key"]),
}


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_another_origin_is_not_gone_on_with(change, is_done, recorded, tmp_path):
    given = {"recorded": recorded, "defense": BASELINES["laplace-output-0.01"](C), "out": tmp_path / "out"}
    if is_done:
        defend(**given)
    else:
        interrupted(**given, chunk=3)
    before = files(tmp_path / "out")
    make, words = CHANGES[change]
    with pytest.raises(InputError) as caught:
        defend(**{**given, **make(tmp_path)}, resume=True)
    for word in (*words, "--resume of", "leave out --resume"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "out") == before


def test_another_class_mean_is_another_defense(recorded, tmp_path):
    means = np.full((C, C), np.float32(1 / C))
    interrupted(recorded, toy_defense("defenmi", "corrected", C, max_iterations=9), tmp_path / "out", 2)
    other = toy_defense("defenmi", "corrected", C, means=means, max_iterations=9)
    with pytest.raises(InputError, match="expected defense defenmi"):
        defend(recorded, other, tmp_path / "out", resume=True)


@pytest.mark.parametrize("damage", ["cut", "another array", "too long"])
def test_finished_file_that_was_damaged(damage, recorded, tmp_path):
    defend(recorded, Rounding(1), tmp_path / "out")
    final = tmp_path / "out" / "defended_outputs.npy"
    if damage == "cut":
        final.write_bytes(final.read_bytes()[:200])
    elif damage == "too long":
        final.write_bytes(final.read_bytes() + b"x")
    else:
        np.save(final, np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"expected 50 whole rows, got a cut or other file; leave out --resume"):
        defend(recorded, Rounding(1), tmp_path / "out", resume=True)
    assert defend(recorded, Rounding(1), tmp_path / "out").resumed == 0


def test_old_note_never_speaks_of_a_new_file(recorded, tmp_path, monkeypatch):
    defend(recorded, Rounding(1), tmp_path / "out")

    def die(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk._Work, "_settle", die)
    with pytest.raises(KeyboardInterrupt):
        defend(recorded, Rounding(2), tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "defended_outputs.json").exists()
    assert defend(recorded, Rounding(2), tmp_path / "out", resume=True).resumed == N


@pytest.mark.parametrize("step", ["look", "open", "truncate", "settle"])
def test_what_may_not_be_read_or_written_is_one_line(step, recorded, tmp_path, monkeypatch):
    if step == "settle":
        defend(recorded, Rounding(1), tmp_path / "out")
        (tmp_path / "out" / "defended_outputs.json").rename(tmp_path / "out" / "defended_outputs.npy.part.json")
    else:
        interrupted(recorded, Rounding(1), tmp_path / "out", 3)
    before, open_path, replace = files(tmp_path / "out"), type(tmp_path).open, os.replace
    opened = []

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    def opening(path, mode="r", **options):
        if path.name.endswith(".part") and mode == {"look": "rb", "open": "r+b"}.get(step):
            forbidden()
        stream = open_path(path, mode, **options)
        if mode == "r+b":
            opened.append(stream)
            if step == "truncate":
                stream.truncate = forbidden
        return stream

    monkeypatch.setattr(type(tmp_path), "open", opening)  # the rights of files do not hold for everybody
    if step == "settle":
        name = "defended_outputs.json"
        monkeypatch.setattr(bulk.os, "replace", lambda old, new: (forbidden if new.name == name else replace)(old, new))
    with pytest.raises(OutputError, match=r"^cannot write .*: Permission denied; choose another folder"):
        defend(recorded, Rounding(1), tmp_path / "out", resume=True)
    monkeypatch.undo()
    assert all(stream.closed for stream in opened)
    assert files(tmp_path / "out") == before


def test_folder_in_the_place_of_the_file(recorded, tmp_path):
    (tmp_path / "out" / "defended_outputs.npy").mkdir(parents=True)
    with pytest.raises(OutputError, match="choose another folder"):
        defend(recorded, Rounding(1), tmp_path / "out")


@pytest.mark.parametrize("kept", [
    "other version", "no JSON", "no object", "no count", "less than none", "half a row", "half of it", "another array"
])  # fmt: skip
def test_damaged_part(kept, recorded, tmp_path):
    interrupted(recorded, Rounding(1), tmp_path / "out", 3)
    part, note = (tmp_path / "out" / f"defended_outputs.npy.part{end}" for end in ("", ".json"))
    held = json.loads(note.read_text())
    if kept == "half of it":
        part.write_bytes(part.read_bytes()[:-1])
    elif kept == "another array":
        np.save(tmp_path / "out" / "x.npy", np.zeros((N, C)))
        (tmp_path / "out" / "x.npy").rename(part)
    else:
        texts = {"no JSON": "", "no object": "[]", "other version": json.dumps({**held, "mindefense": "0.0.1"})}
        counts = {"less than none": {**held["done"], "rows": -5}, "half a row": {**held["done"], "rows": 0.5}}
        note.write_text(texts.get(kept, json.dumps({**held, "done": counts.get(kept, {"rows": 1, "sheep": 2})})))
    with pytest.raises(InputError, match="leave out --resume"):
        defend(recorded, Rounding(1), tmp_path / "out", resume=True)
    assert defend(recorded, Rounding(1), tmp_path / "out").rows == N


def test_rows_are_on_the_disk_before_they_are_counted(recorded, tmp_path, monkeypatch):
    part, note = (tmp_path / "out" / f"defended_outputs.npy.part{end}" for end in ("", ".json"))
    safe, sync = [0], os.fsync

    def fsync(descriptor):
        sync(descriptor)
        if os.fstat(descriptor).st_ino == part.stat().st_ino:
            safe[0] = part.stat().st_size

    counted = []

    def on_progress(rows):
        if note.exists():
            done = json.loads(note.read_text())["done"]["rows"]
            counted.append(done)
            assert safe[0] == 128 + done * C * 4

    monkeypatch.setattr(bulk.os, "fsync", fsync)
    defend(recorded, Rounding(1), tmp_path / "out", on_progress=on_progress)
    assert counted == [16, 32, 48]


@pytest.mark.parametrize("at", [1, 2, 5])
def test_full_disk(at, recorded, tmp_path, monkeypatch):
    calls, sync = [], os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(bulk.os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"No space left on device; make room .* --resume"):
        defend(recorded, Rounding(1), tmp_path / "out")
    tally = defend(recorded, Rounding(1), tmp_path / "out", resume=True)
    assert tally.resumed == (at - 1) // 2 * ROWS
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "defended_outputs.npy"), in_one_go(Rounding(1)))
