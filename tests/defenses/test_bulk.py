"""Any number of recorded vectors behind a defense: the bytes of one go, whatever happens on the way."""

import errno
import json
import os
import tracemalloc

import numpy as np
import pytest
from toy_defenses import BASELINES, SEARCHES, TAME, plain_logits, starts, toy_defense

from mindefense import cli
from mindefense.confidence import softmax as probs_of
from mindefense.data.vectors import open_vectors
from mindefense.defenses import DefenderClassifier, DefenMI, DefenMIConfig, MemGuard, Rounding, bulk, class_mean_probs
from mindefense.defenses.bulk import defend_vectors
from mindefense.defenses.driver import put_on_top
from mindefense.errors import DataError, InputError, OutputError
from mindefense.keyed_noise import KeyedDraws, write_key

N, C, ROWS = 50, 6, 16
LOGITS = plain_logits(N, C)
PROBS = probs_of(LOGITS)
NOISED = starts("defenmi", LOGITS)
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
CHUNKS = 4


@pytest.fixture
def recorded(tmp_path):
    np.savez(tmp_path / "big.npz", probs=PROBS, noised_logits=NOISED)
    return open_vectors(tmp_path / "big.npz")


def defend(recorded, defense, out, **options):
    given = {"key": KEY if defense.draws else None, "rows_at_a_time": ROWS, "workers": 1}
    return defend_vectors(recorded, defense, out, **{**given, **options})


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def in_one_go(defense, probs=PROBS, start=None, key=KEY):
    draws = KeyedDraws.of(key, defense.draws)(probs) if defense.draws else None
    return defense.reshape(probs, NOISED if defense.noise_scale else start, draws=draws, workers=1)


@pytest.mark.parametrize("name", [*BASELINES, *SEARCHES])
def test_same_bytes_as_in_one_go(name, recorded, tmp_path):
    defense = {**BASELINES, **SEARCHES}[name](C)
    expected = in_one_go(defense)
    for rows in (7, ROWS, N, None) if name in BASELINES else (ROWS,):
        tally = defend(recorded, defense, tmp_path / "out", rows_at_a_time=rows)
        held = np.load(tmp_path / "out" / "defended_outputs.npy", mmap_mode="r")
        assert (held.dtype, held.shape) == (np.float32, (N, C))
        np.testing.assert_array_equal(held, expected)
        assert tally.rows == N
        assert tally.labels_changed == (expected.argmax(axis=1) != PROBS.argmax(axis=1)).sum()
        assert tally.mean_l1 == pytest.approx(np.abs(np.float64(expected) - PROBS).sum() / N, rel=1e-6)
        assert set(files(tmp_path / "out")) == {"defended_outputs.npy", "defended_outputs.json"}


def test_same_bytes_in_many_processes(tmp_path):
    logits = plain_logits(700, C)
    np.savez(tmp_path / "big.npz", probs=probs_of(logits), noised_logits=logits)
    vectors = open_vectors(tmp_path / "big.npz")
    defense = toy_defense("defenmi", "corrected", C, **TAME)
    for name, options in {"one": {"workers": 1}, "two": {"workers": 2, "rows_at_a_time": 600}}.items():
        defend(vectors, defense, tmp_path / name, **options)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("name", ["memguard", "temperature-10", "rounding-1"])
def test_logits_are_answered_as_by_a_defended_model(name, tmp_path):
    logits = LOGITS.copy()
    logits[:5], logits[:5, 0] = -3, 0.1
    logits[:5, 1] = np.nextafter(np.float32(0.1), np.float32(1))  # level as probabilities
    assert probs_of(logits)[0].argmax() == 0
    np.savez(tmp_path / "big.npz", logits=logits)
    defense = {**BASELINES, **SEARCHES}[name](C)
    defend(open_vectors(tmp_path / "big.npz"), defense, tmp_path / "out")
    clean = probs_of(logits)
    put_on_top(clean, logits.argmax(axis=1))
    held = np.load(tmp_path / "out" / "defended_outputs.npy")
    np.testing.assert_array_equal(held, in_one_go(defense, clean, logits))
    np.testing.assert_array_equal(held.argmax(axis=1), logits.argmax(axis=1))


def test_fallbacks_are_counted(recorded, tmp_path):
    defense = toy_defense("defenmi", "corrected", C, max_iterations=3)
    rounds = defense.reshape_in_detail(PROBS, NOISED, workers=1).rounds
    assert 0 < (rounds == 0).sum() < N
    assert defend(recorded, defense, tmp_path / "out").fallbacks == (rounds == 0).sum()
    assert defend(recorded, Rounding(1), tmp_path / "out").fallbacks is None


# ------------------------------------------------------------------------------------------------------------- resume


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


# ---------------------------------------------------------------------------------------------------------------- key


def test_the_key_decides_and_is_told_nowhere(recorded, tmp_path):
    defense = BASELINES["laplace-output-0.01"](C)
    found = {}
    for name, key in (("one", KEY), ("same", KEY), ("other", OTHER_KEY)):
        defend(recorded, defense, tmp_path / name, key=key)
        found[name] = files(tmp_path / name)
        for held in found[name].values():
            assert key not in held
            assert key.hex().encode() not in held.lower()
    assert found["one"] == found["same"]
    assert found["one"]["defended_outputs.npy"] != found["other"]["defended_outputs.npy"]
    one, other = (json.loads(found[name]["defended_outputs.json"])["key"] for name in ("one", "other"))
    assert one != other
    with pytest.raises(InputError, match=r"^--key: expected none, since rounding-1 draws nothing"):
        defend(recorded, Rounding(1), tmp_path / "plain", key=KEY)
    assert not (tmp_path / "plain").exists()


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: BASELINES["laplace-output-2"](C), InputError, ["laplace-output-2", "a key", "--key"]),
        (lambda: BASELINES["class-mean"](C + 1), InputError, ["big.npz", "7 classes", "got 6"]),
        (lambda: SEARCHES["defenmi"](C), DataError, ["noised_logits", "noised input"]),
    ],
)
def test_what_a_defense_needs(make, error, words, tmp_path):
    np.savez(tmp_path / "big.npz", probs=PROBS)
    with pytest.raises(error) as caught:
        defend(open_vectors(tmp_path / "big.npz"), make(), tmp_path / "out", key=None)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bad_row_shows_before_the_work(tmp_path):
    probs = np.full((70_010, 2), 0.5, np.float32)
    probs[70_001, 1] = np.nan
    np.save(tmp_path / "big.npy", probs)
    with pytest.raises(DataError, match="row 70001: expected finite values, got nan in column 1"):
        defend(open_vectors(tmp_path / "big.npy"), Rounding(1), tmp_path / "out", rows_at_a_time=None)
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    peaks = []
    for repeats in (100, 1500):
        np.save(tmp_path / "big.npy", np.tile(PROBS, (repeats, 1)))
        vectors = open_vectors(tmp_path / "big.npy")
        tracemalloc.start()
        defend(vectors, Rounding(1), tmp_path / "out", rows_at_a_time=2048, sha256="known")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000  # all rows would be 1.7 MB more


# ------------------------------------------------------------------------------------------------ the command line


def run(folder, *arguments):
    """The exit code of `mindefense defend`, the folder `out` in `folder`."""
    try:
        return cli.main(["defend", "--out", str(folder / "out"), *map(str, arguments)])
    except SystemExit as left:
        return left.code


def test_command(recorded, tmp_path, capsys):
    defense = SEARCHES["defenmi"](C)
    defense.save(tmp_path / "out" / "defense.ckpt")  # as a study has it
    assert run(tmp_path, "--outputs", recorded.file) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("check: 50 rows × 6 classes")
    assert lines[1].startswith("defend: defenmi")
    assert lines[2].startswith("rows: 50; ")
    assert "labels changed: 0; mean L1 distance " in lines[3]
    assert lines[4] == f"wrote {tmp_path / 'out' / 'defended_outputs.npy'}"
    held = np.load(tmp_path / "out" / "defended_outputs.npy")
    np.testing.assert_array_equal(held, in_one_go(defense))
    assert run(tmp_path, "--outputs", recorded.file, "--resume") == 0
    assert "rows: 50, 50 by an earlier run\n" in capsys.readouterr().out
    np.savez(tmp_path / "rounded.npz", probs=np.round(PROBS.astype(np.float64), 3))
    assert run(tmp_path, "--outputs", tmp_path / "rounded.npz", "--defense", "top-k=2") == 0
    assert "rows did not sum to 1 because of rounding" in capsys.readouterr().out


def test_command_with_a_key(recorded, tmp_path):
    key = write_key(tmp_path / "key")
    given = ("--outputs", recorded.file, "--defense", "laplace=0.1", "--key", tmp_path / "key")
    assert run(tmp_path, *given) == 0
    defense = bulk_defense("laplace=0.1")
    held = np.load(tmp_path / "out" / "defended_outputs.npy")
    np.testing.assert_array_equal(held, in_one_go(defense, key=key))


def bulk_defense(name):
    from mindefense.defenses.registry import DefenseSpec

    return DefenseSpec.parse_unfitted(name).build_unfitted(C)


@pytest.mark.parametrize("name", ["rounding=1", "top-k=3", "temperature=2", "label-only", "laplace=0.1"])
def test_names_that_need_no_fitting(name):
    assert bulk_defense(name).classes in (None, C)


# What to type behind `mindefense defend --out out` → words of the one line.
MISTAKES = {
    "no file": (["--outputs", "no.npz"], ["no.npz", "nothing of that name"]),
    "no defense": (["--outputs", "big.npz"], ["--defense", "defense.ckpt", "rounding=1"]),
    "missing defense": (["--outputs", "big.npz", "--defense", "no.ckpt"], ["--defense", "no.ckpt"]),
    "no checkpoint": (["--outputs", "big.npz", "--defense", "bad.ckpt"], ["bad.ckpt", "cannot be read"]),
    "unknown name": (["--outputs", "big.npz", "--defense", "dp"], ["--defense", "'dp'"]),
    "to be fitted": (["--outputs", "big.npz", "--defense", "class-mean"], ["class-mean", ".ckpt", "mindefense defend"]),
    "no noised logits": (["--outputs", "plain.npy", "--defense", "defenmi.ckpt"], ["noised_logits", "noised input"]),
    "no key": (["--outputs", "big.npz", "--defense", "laplace=1"], ["laplace", "--key"]),
    "missing key": (["--outputs", "big.npz", "--defense", "laplace=1", "--key", "no"], ["key no"]),
    "resume of a study": (["--resume"], ["--resume", "--outputs"]),
    "defense of a study": (["--defense", "label-only"], ["--defense", "--outputs"]),
    "key of a study": (["--key", "k"], ["--key", "--outputs"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(name, recorded, tmp_path, monkeypatch, capfd):
    np.save(tmp_path / "plain.npy", PROBS)
    SEARCHES["defenmi"](C).save(tmp_path / "defenmi.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"no checkpoint")
    monkeypatch.chdir(tmp_path)
    typed, words = MISTAKES[name]
    capfd.readouterr()
    assert run(tmp_path, *typed) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_says_how_to_go_on(recorded, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rounding, "reshape", stop)
    assert run(tmp_path, "--outputs", recorded.file, "--defense", "rounding=1") == 130
    err = capsys.readouterr().err
    kept = "no chunk was done, so there is nothing to resume"
    assert err == f"mindefense: interrupted; {kept}\n"
    monkeypatch.undo()
    assert run(tmp_path, "--outputs", recorded.file, "--defense", "rounding=1", "--resume") == 0


@pytest.mark.parametrize("name", ["defenmi_location_released", "memguard_location_even_rows"])
def test_published_vectors(name, golden, data_root, tmp_path):
    held = golden(name)
    classifier = DefenderClassifier.from_weights(held["layers"])
    if "start_logits" in held:
        means = class_mean_probs(np.log(held["clean_probs"]))
        defense, start = DefenMI(classifier, means, DefenMIConfig(alignment="published")), held["start_logits"]
    else:
        defense, start = MemGuard(classifier), held["clean_logits"]
    defense.save(tmp_path / "fitted.ckpt")
    outputs = data_root / "golden" / f"{name}.npz"
    assert run(tmp_path, "--outputs", outputs, "--defense", tmp_path / "fitted.ckpt") == 0
    found = np.load(tmp_path / "out" / "defended_outputs.npy")
    some = slice(None, None, 5)  # rows do not depend on each other
    np.testing.assert_array_equal(found[some], defense.reshape(held["clean_probs"][some], start[some]))
    away = np.abs(found - held["defended_probs"]).sum(axis=1)
    assert np.median(away) < 2e-4
