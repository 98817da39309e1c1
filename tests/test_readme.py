"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from mindefense.cli import build_parser
from mindefense.data import make_location_like
from mindefense.models import MLP
from mindefense.training import TrainConfig, train_classifier

README = Path(__file__).parent.parent / "README.md"


def test_the_code_for_ones_own_model_runs(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
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
    # gap: undefended, defended; lr: undefended, defended unaware, defended adapted
    assert [line.split()[:3] for line in printed] == [
        ["gap", "static", "undefended"],
        ["gap", "static", "defended"],
        ["mindarmour-lr", "static", "undefended"],
        ["mindarmour-lr", "static", "defended"],
        ["mindarmour-lr", "adaptive", "defended"],
    ]
    accuracy = [float(line.split()[3]) for line in printed]
    assert accuracy[0] == accuracy[1] > 0.6, "DefenMI keeps the labels, so the gap attack stays where it was"
    assert accuracy[2] > accuracy[3], "an attacker unaware of the defense must lose by it"
    assert (tmp_path / "defenmi.ckpt").is_file()


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
