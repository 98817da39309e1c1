"""What the README shows runs as it stands there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mindefense.cli import build_parser, main
from mindefense.data import make_location_like
from mindefense.models import MLP
from mindefense.training import TrainConfig, train_classifier

README = Path(__file__).parent.parent / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_code_for_ones_own_model_runs(tmp_path, monkeypatch, capsys):
    block, _ = blocks()
    # 400 epochs at a small rate take half a minute; the few at a large one do as well for a test.
    shorter = "TrainConfig(epochs=40, learning_rate=0.05, decay_every=None, loss='sigmoid')"
    block, replaced = re.subn(
        r"fit_defenmi\(net, data, split\)", f"fit_defenmi(net, data, split, train={shorter})", block
    )
    assert replaced == 1
    data = make_location_like(0)
    rows = data.take(np.arange(1000))
    net = MLP((446, 128, 30))
    train_classifier(net, rows.features, rows.labels, TrainConfig(epochs=60, learning_rate=0.1, decay_every=None))
    monkeypatch.chdir(tmp_path)
    exec(block, {"net": net, "features": data.features, "labels": data.labels, "TrainConfig": TrainConfig})
    printed = capsys.readouterr().out.splitlines()
    attacks = [line.split() for line in printed if line.split()[0] not in ("passed", "DOUBT", "not-run")]
    assert [tuple(words[:3]) for words in attacks] == [
        *((name, "static", "undefended") for name in ("gap", "confidence", "mindarmour-lr", "label-flips")),
        ("gap", "static", "defended"),
        *((name, adversary, "defended") for name in ("confidence", "mindarmour-lr", "label-flips")
          for adversary in ("static", "adaptive")),
    ]  # fmt: skip
    accuracy = {tuple(words[:3]): float(words[3]) for words in attacks}
    gap = accuracy["gap", "static", "undefended"]
    assert gap == accuracy["gap", "static", "defended"] > 0.6, "DefenMI keeps the labels"
    assert accuracy["mindarmour-lr", "static", "undefended"] > accuracy["mindarmour-lr", "static", "defended"], (
        "an attacker unaware of the defense must lose by it"
    )
    assert accuracy["label-flips", "adaptive", "defended"] == accuracy["label-flips", "static", "undefended"], (
        "who asks for labels alone must not notice it"
    )
    assert any(line.startswith("passed labels-changed") for line in printed)
    assert (tmp_path / "defenmi.ckpt").is_file()


def test_the_code_that_serves_runs(staged, tmp_path, monkeypatch, capsys):
    _, block = blocks()
    (exporting,) = (command for command in _commands() if command.startswith("mindefense export"))
    shutil.copytree(staged, tmp_path / "runs" / "location")
    monkeypatch.chdir(tmp_path)
    assert main(exporting.split()[1:]) == 0
    held = {"x": make_location_like(1).features[:3]}
    exec(block, held)
    assert held["log_probs"].shape == (3, 30)
    assert (held["guarded"].query(held["x"]) == held["log_probs"]).all()


def _commands() -> list[str]:
    text = README.read_text(encoding="utf-8")
    return sorted(
        set(re.findall(r"`(mindefense [a-z-]+ .*?)`", text)) | set(re.findall(r"^\$ (mindefense .*)$", text, re.M))
    )


@pytest.mark.parametrize("command", _commands())
def test_the_commands_parse(command):
    assert build_parser().parse_args(command.split()[1:]).command is not None


def test_there_are_commands_to_parse():
    assert len(_commands()) >= 6
