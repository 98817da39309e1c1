"""What a study may be about, what a model's preset makes of it, and what a checkpoint says of itself."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindefense.checkpoint import Checkpoint, parameters_of, save_checkpoint
from mindefense.data import make_cifar_like, make_location_like
from mindefense.data.registry import DATASETS as REGISTERED
from mindefense.errors import CheckpointError, DataError, InputError
from mindefense.images import ImageTransform
from mindefense.models import MLP, VGG16, vgg16
from mindefense.study.config import DATASETS, DATASETS_FOR, StudyConfig, smoke_sizes
from mindefense.study.presets import preset_for
from mindefense.study.provenance import check_finished, settings_of
from mindefense.study.registry import MODELS
from mindefense.study.roles import load_data, split_data
from mindefense.training import PUBLISHED_TARGET, PUBLISHED_VGG16, TrainConfig
from mindefense.types import LabelledData

IMAGES = make_cifar_like(1, train=12, test=6)
SMALL = {"image_size": 32, "width_multiplier": 0.125, "members": 300, "num_samples": 150}


def preset_of(config, data):
    return preset_for(config, columns=data.features.shape[1], classes=data.num_classes)


def config(**settings):
    """A study of the smallest VGG16."""
    return StudyConfig(**{"model": "vgg16", "image_size": 32, "width_multiplier": 0.0625, **settings})


# -------------------------------------------------------------------------------------------------------- configuration


def test_every_data_set_has_a_model():
    assert set(DATASETS) == {"synthetic", *REGISTERED} == set(itertools.chain(*DATASETS_FOR.values()))
    assert set(DATASETS_FOR["mlp"]) & set(DATASETS_FOR["vgg16"]) == {"synthetic"}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", ["mlp", "vgg16"])
def test_tables_go_with_mlp_and_images_with_vgg16(model, dataset):
    settings = {"model": model, "dataset": dataset, "data_path": None if dataset == "synthetic" else "x"}
    if dataset == "synthetic" or (dataset == "cifar100") == (model == "vgg16"):
        assert StudyConfig(**settings).model == model
        return
    other = "mlp" if model == "vgg16" else "vgg16"
    with pytest.raises(InputError, match=f"^model for {dataset}: expected {other}, got '{model}'$"):
        StudyConfig(**settings)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("mlp", "image_size", 32),
        ("mlp", "width_multiplier", 0.5),
        ("mlp", "members", 100),
        ("mlp", "num_samples", 100),
        ("mlp", "augment", True),
        ("mlp", "parity", True),
        ("vgg16", "split_config", "config.ini"),
        ("vgg16", "split_section", "cifar"),
    ],
)
def test_settings_of_the_other_model_are_refused(model, name, value):
    right = "vgg16" if model == "mlp" else "mlp"
    with pytest.raises(InputError, match=f"^{name}: expected only with model {right}, got model {model}$"):
        StudyConfig(model=model, **{name: value})
    assert getattr(StudyConfig(model=right, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"model": "resnet"}, "model: expected mlp or vgg16, got 'resnet'"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected a whole number"),
        ({"batch_size": None}, "batch_size: expected a whole number"),
    ],
)
def test_settings_of_either_model_are_checked(wrong, word):
    with pytest.raises(InputError, match=word):
        StudyConfig(**wrong)


def test_images_are_as_large_as_the_tutorials_unless_told():
    assert StudyConfig(model="vgg16").pixels == 224
    assert StudyConfig(model="vgg16", image_size=64).pixels == 64


@pytest.mark.parametrize(
    ("described", "pre_trained", "expected"),
    [
        ({"model": "vgg16", "smoke": True}, False, SMALL),
        ({"model": "vgg16", "smoke": True}, True, {"num_samples": 150}),
        (
            {"model": "vgg16", "smoke": True, "members": 9, "num_samples": 5},
            False,
            SMALL | {"members": 9, "num_samples": 5},
        ),
        ({"model": "vgg16", "smoke": True, "num_samples": 5, "image_size": 96}, True, {}),
        ({"model": "vgg16", "smoke": False}, False, {}),
        ({"model": "vgg16"}, True, {}),
        ({"model": "mlp", "smoke": True}, False, {}),
        ({"smoke": True}, False, {}),
    ],
)
def test_smoke_test_of_images_is_small_where_nothing_was_chosen(described, pre_trained, expected):
    before = dict(described)
    assert smoke_sizes(described, pre_trained=pre_trained) == {**expected, **described}
    assert described == before


# --------------------------------------------------------------------------------------------------------------- preset


def test_a_model_is_one_entry_and_its_preset():
    """Settings, preset and command line know a model that the catalogue has got beside its own."""
    code = (
        "from mindefense.study import registry\n"
        "registry.MODELS['wider'] = registry.ModelSpec(registry.TABLES, 'mlp_preset')\n"
        "from mindefense import cli\n"
        "from mindefense.study.config import StudyConfig\n"
        "from mindefense.study.presets import preset_for\n"
        "model = cli.build_parser().parse_args(['run', '--model', 'wider']).model\n"
        "print(preset_for(StudyConfig(model=model), columns=3, classes=2).architecture['widths'][0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("3\n", 0), ran.stderr


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_preset(name):
    assert MODELS[name].load().__module__ == "mindefense.study.presets"


def test_published_training_of_vgg16_is_the_tutorials():
    assert (
        TrainConfig(
            epochs=100,
            learning_rate=0.01,
            decay_every=30,
            batch_size=64,
            loss="softmax",
            schedule="step",
            warmup_epochs=5,
            momentum=0.9,
            weight_decay=5e-4,
            augment=False,
            until_accuracy=None,
        )
        == PUBLISHED_VGG16
    )


def test_preset_of_vgg16():
    preset = preset_of(config(image_size=64), IMAGES)
    net = preset.build(3)
    assert isinstance(net, VGG16)
    sizes = {"num_classes": 100, "image_size": 64, "batch_norm": True, "width_multiplier": 0.0625}
    assert preset.architecture == {"name": "vgg16", **sizes}
    expected = parameters_of(vgg16(**sizes, seed=3))
    assert {name: array.tobytes() for name, array in parameters_of(net).items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    assert preset.prepare == ImageTransform(64)
    assert (preset.fit_share, preset.checkpoint_every, preset.has_shadow) == (0.8, 1, False)
    assert preset.train == PUBLISHED_VGG16


def test_preset_of_an_mlp_is_the_published_one():
    data = LabelledData("d", np.zeros((4, 7), np.float32), np.zeros(4, np.int32), 5)
    preset = preset_of(StudyConfig(), data)
    net = preset.build(3)
    assert isinstance(net, MLP)
    assert net.widths == (7, 1024, 512, 256, 128, 5)
    assert preset.architecture == {"name": "mlp", "widths": [7, 1024, 512, 256, 128, 5]}
    assert preset.prepare is None
    assert (preset.fit_share, preset.checkpoint_every, preset.has_shadow) == (0.5, 50, True)
    assert preset.train == PUBLISHED_TARGET


@pytest.mark.parametrize("smoke", [False, True])
@pytest.mark.parametrize("model", ["mlp", "vgg16"])
def test_settings_replace_those_of_the_published_training_one_by_one(model, smoke):
    chosen = {
        "epochs": 3,
        "learning_rate": 0.5,
        "schedule": "cosine",
        "warmup_epochs": 2,
        "until_accuracy": 0.9,
        "batch_size": 7,
    }
    published = PUBLISHED_TARGET if model == "mlp" else PUBLISHED_VGG16
    data = make_location_like() if model == "mlp" else IMAGES
    if smoke:
        published = dataclasses.replace(published, epochs=8)
    for some in [{}, chosen, *({name: value} for name, value in chosen.items())]:
        train = preset_of(StudyConfig(model=model, smoke=smoke, **some), data).train
        assert train == dataclasses.replace(published, **some)


def test_no_warm_up_can_be_asked_for():
    assert preset_of(config(warmup_epochs=0), IMAGES).train.warmup_epochs == 0


def test_crops_and_flips_in_training_are_to_be_asked_for():
    assert preset_of(config(augment=True), IMAGES).train == dataclasses.replace(PUBLISHED_VGG16, augment=True)
    assert not preset_of(config(parity=True), IMAGES).train.augment


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": -1.0}, {"schedule": "x"}, {"until_accuracy": 2.0}, {"warmup_epochs": -1}]
)
def test_bad_training_shows_before_anything_is_built(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        preset_of(config(**wrong), IMAGES)


def test_synthetic_data_are_in_the_likeness_of_what_the_model_takes():
    images, table = load_data(config(seed=4)), load_data(StudyConfig(seed=4))
    assert (images.name, images.synthetic, images.features.shape) == ("cifar100-like", True, (900, 3, 32, 32))
    assert images.parts == {"train": range(600), "test": range(600, 900)}
    assert images.fingerprint == make_cifar_like(4, train=600, test=300).fingerprint
    assert table.fingerprint == make_location_like(4).fingerprint


def test_images_under_the_name_of_a_table_are_refused(monkeypatch):
    monkeypatch.setattr("mindefense.data.ch_mnist.load_ch_mnist", lambda path: IMAGES)
    with pytest.raises(DataError, match=r"expected shape \(N, features\), got \(18, 3, 32, 32\)"):
        load_data(StudyConfig(dataset="ch_mnist", data_path="x"))


@pytest.mark.parametrize("smoke", [False, True])
def test_split_of_images_is_that_of_the_parts(smoke):
    split = split_data(config(members=4, num_samples=3, smoke=smoke), IMAGES)
    assert split.target_members.tolist() == [0, 1, 2, 3]
    assert split.eval_members.tolist() == [0, 1, 2]
    assert split.eval_non_members.tolist() == [12, 13, 14]
    # A smoke test's defender is no larger than what is judged.
    assert split.defender_members.tolist() == ([0, 1, 2] if smoke else [0, 1, 2, 3])
    assert split.defender_non_members.tolist() == ([4, 5, 6] if smoke else [4, 5, 6, 7])


# ----------------------------------------------------------------------------------------------------------- provenance


@pytest.mark.parametrize(
    ("accuracies", "epochs", "until", "finished"),
    [
        ([0.1, 0.2], 2, None, True),
        ([0.1], 2, None, False),
        ([], 2, None, False),
        ([], 2, 0.9, False),
        ([0.1, 0.9], 5, 0.9, True),
        ([0.1, 0.89], 5, 0.9, False),
        ([0.95, 0.89], 5, 0.9, False),
        ([0.1, 0.2], 2, 0.9, True),
    ],
)
def test_training_is_finished_after_all_epochs_or_at_the_accuracy(accuracies, epochs, until, finished):
    train = {"epochs": epochs, "until_accuracy": until}
    held = Checkpoint(Path("t.ckpt"), {}, {"history": {"accuracy": accuracies}, "train": train})
    if finished:
        check_finished(held, "go on")
        return
    with pytest.raises(CheckpointError, match=f"stopped after epoch {len(accuracies)} of {epochs}; go on$"):
        check_finished(held, "go on")


def test_checkpoint_of_another_program_is_never_called_unfinished():
    check_finished(Checkpoint(Path("t.ckpt"), {}, {}), "go on")


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({}, {}),
        ({"members": 5}, {}),
        ({"members": 5, "architecture": {"name": "mlp", "widths": [4, 3]}}, {}),
        (
            {
                "members": 7,
                "architecture": {"name": "vgg16", "num_classes": 9, "image_size": 64, "width_multiplier": 0.5},
            },
            {"members": 7, "image_size": 64, "width_multiplier": 0.5},
        ),
    ],
)
def test_checkpoint_says_what_it_was_trained_with(description, expected, tmp_path):
    save_checkpoint(tmp_path / "t.ckpt", {"w": np.zeros(2, np.float32)}, description)
    assert settings_of(tmp_path / "t.ckpt") == expected
