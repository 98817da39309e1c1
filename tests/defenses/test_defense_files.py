"""Defenses in files: all that they hold comes back, and other files are refused in one line."""

import json

import mindspore as ms
import numpy as np
import pytest
from toy_defenses import KINDS, plain_logits, softmax, starts, toy_defense, toy_layers, toy_means

from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.defenses import DefenMI, DefenMIConfig, MemGuard, MemGuardConfig, load_defense
from mindefense.errors import CheckpointError, OutputError
from mindefense.models import MLP


@pytest.mark.parametrize(("name", "alignment"), KINDS)
def test_files_hold_the_whole_defense(tmp_path, name, alignment):
    changes = {"max_iterations": 40, "c2": 3.0} | ({"epsilon": 0.7} if name == "defenmi" else {})
    defense = toy_defense(name, alignment, 3, **changes)
    defense.save(tmp_path / "of" / "mine.ckpt")
    loaded = load_defense(tmp_path / "of" / "mine.ckpt")
    assert type(loaded) is type(defense)
    assert loaded.config == defense.config
    assert loaded.noise_scale == defense.noise_scale
    for key, array in parameters_of(defense).items():
        np.testing.assert_array_equal(parameters_of(loaded)[key], array)
    np.testing.assert_array_equal(loaded.class_means.asnumpy(), defense.class_means.asnumpy())
    logits = plain_logits(30, 3)
    query = np.float32(softmax(logits)), starts(name, logits)
    np.testing.assert_array_equal(loaded.reshape(*query), defense.reshape(*query))
    described = json.loads((tmp_path / "of" / "mine.json").read_text(encoding="utf-8"))
    assert (described["kind"], described["defense"]) == ("defense", name)
    assert described["config"]["alignment"] == alignment
    assert sorted(path.name for path in (tmp_path / "of").iterdir()) == ["mine.ckpt", "mine.json"]


def test_classifier_comes_back_as_it_went_in():
    defense = toy_defense("memguard", "corrected", 3)
    for pair, wanted in zip(defense.classifier().weights(), toy_layers(3), strict=True):
        for array, other in zip(pair, wanted, strict=True):
            np.testing.assert_array_equal(array, other)
    assert defense.class_mean_probs is None
    np.testing.assert_array_equal(toy_defense("defenmi", "corrected", 3).class_mean_probs, toy_means(3))


def test_configs_are_defaults_where_none_is_given():
    classifier = toy_defense("memguard", "corrected", 3).classifier()
    assert MemGuard(classifier).config == MemGuardConfig()
    assert DefenMI(classifier, toy_means(3)).config == DefenMIConfig()


def missing(path, defense):
    pass


def truncated(path, defense):
    defense.save(path)
    content = path.read_bytes()
    path.unlink()  # MindSpore makes checkpoints read-only
    path.write_bytes(content[: len(content) // 2])


def empty(path, defense):
    path.write_bytes(b"")


def of_a_network(path, defense):
    save_checkpoint(path, parameters_of(MLP((6, 3))), {"kind": "target"})


def of_another_program(path, defense):
    ms.save_checkpoint(MLP((6, 3)), str(path))


def of_an_unknown_defense(path, defense):
    defense.save(path)
    held = load_checkpoint(path)
    save_checkpoint(path, held.parameters, {**held.description, "defense": "unheard of"})


def without(name):
    def write(path, defense):
        defense.save(path)
        held = load_checkpoint(path)
        save_checkpoint(path, {k: v for k, v in held.parameters.items() if k != name}, held.description)

    return write


def with_config(**changes):
    def write(path, defense):
        defense.save(path)
        held = load_checkpoint(path)
        config = {**held.description["config"], **changes}
        save_checkpoint(path, held.parameters, {**held.description, "config": config})

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(missing, "no checkpoint at .*mine.ckpt", id="missing"),
        pytest.param(truncated, "mine.ckpt cannot be read: .*truncated", id="truncated"),
        pytest.param(empty, "mine.ckpt cannot be read: ", id="empty"),
        pytest.param(of_a_network, "mine.ckpt: expected a defense .* got target", id="network"),
        pytest.param(of_another_program, "mine.ckpt: expected a defense .* got another program's", id="other program"),
        pytest.param(of_an_unknown_defense, "mine.ckpt: expected a defense", id="unknown"),
        pytest.param(without("class_mean_probs"), "mine.ckpt does not hold a whole defense", id="no means"),
        pytest.param(without("classifier.1.W"), "mine.ckpt does not hold a whole defense", id="no weights"),
        pytest.param(with_config(colour="red"), "mine.ckpt does not hold a whole defense", id="unknown setting"),
        pytest.param(with_config(alignment="askew"), "mine.ckpt", id="bad setting"),
        pytest.param(without("classifier.2.b"), "mine.ckpt", id="a layer less"),
    ],
)
def test_other_files_are_refused(tmp_path, capfd, write, words):
    path = tmp_path / "mine.ckpt"
    write(path, toy_defense("defenmi", "corrected", 3))
    with pytest.raises(CheckpointError, match=words) as caught:
        load_defense(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*mine.ckpt: "):
        toy_defense("memguard", "corrected", 3).save(tmp_path / "file" / "mine.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
