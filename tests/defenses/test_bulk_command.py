"""`mindefense defend --outputs`: any number of recorded vectors on the command line."""

import numpy as np
import pytest
from bulk_vectors import PROBS, C, in_one_go
from toy_defenses import SEARCHES

from mindefense import cli
from mindefense.defenses import DefenderClassifier, DefenMI, DefenMIConfig, MemGuard, Rounding, class_mean_probs
from mindefense.keyed_noise import write_key


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
    "no file": (["--outputs", "no.npz"], ["no.npz", "no such file"]),
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
