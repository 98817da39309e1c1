"""What readers bring along: data that are made up in the published formats, studies that are done, models, names."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import os
import shutil
import sys
import tarfile
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from once import Memory
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import mindefense  # noqa: F401  sets MindSpore's log level, which must happen before anybody imports mindspore
from mindefense.cli import main
from mindefense.confidence import softmax
from mindefense.data import SOURCES, Source, load_location, load_outputs, make_cifar_like, make_location_like
from mindefense.defenses import DefenderClassifier, DefenMI, DefenMIConfig, Rounding, fit_defender, fit_defenmi
from mindefense.evaluation import evaluate_outputs
from mindefense.keyed_noise import KeyedNoise, read_key, write_key
from mindefense.models import MLP
from mindefense.serving import GuardedModel, export_guarded
from mindefense.training import TrainConfig, train_classifier
from mindefense.types import LabelledData

if TYPE_CHECKING:
    from running import Reader


class Shelf:
    """What many readers want, made when the first one does, in a folder that all share.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = Memory()
        self._server: http.server.ThreadingHTTPServer | None = None

    def lend(self, patch: pytest.MonkeyPatch) -> None:
        """Makes a process one in which commands of a page run: data come from here, no training is done twice."""
        patch.setattr(ms, "set_device", lambda *_: None)  # after anything has run, it lets nobody choose a device
        patch.setenv("no_proxy", "*")
        self.memory.remember(patch)
        # 400 epochs at a small rate take half a minute; the few at a large one do as well for a test.
        shorter = TrainConfig(epochs=20, learning_rate=0.05, decay_every=None, loss="sigmoid")
        patch.setitem(fit_defenmi.__kwdefaults__, "train", shorter)
        patch.setitem(fit_defender.__kwdefaults__, "config", shorter)
        for name, file in (("location", self.location), ("cifar100", self.cifar100)):
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            source = Source(file.name, f"{self._address}/{file.name}", "sha256", digest, len(content))
            patch.setitem(SOURCES, name, source)

    @functools.cached_property
    def location(self) -> Path:
        """``dataset_location.tgz`` with made-up rows."""
        data = self.data
        rows = data.features.astype(int).astype(str)
        text = "".join(f'"{label + 1}",{",".join(row)}\n' for label, row in zip(data.labels, rows, strict=True))
        return self._pack("dataset_location.tgz", {"bangkok": text.encode()})

    @functools.cached_property
    def cifar100(self) -> Path:
        """``cifar-100-binary.tar.gz`` with a few hundred made-up images."""
        data = make_cifar_like(2, train=400, test=200)
        members = {}
        for part, rows in data.parts.items():
            labels, pixels = data.labels[rows], data.features[rows].reshape(len(rows), -1)
            records = np.column_stack([labels // 5, labels, pixels]).astype(np.uint8)
            members[f"cifar-100-binary/{part}.bin"] = records.tobytes()
        return self._pack("cifar-100-binary.tar.gz", members)

    @functools.cached_property
    def study(self) -> Path:
        """The folder of a study of Location that is done."""
        (self.folder / "data").mkdir(exist_ok=True)
        shutil.copy(self.location, self.folder / "data")
        self._run("run --smoke --attacks gap,confidence --data_path data --out study")
        return self.folder / "study"

    @functools.cached_property
    def vgg16(self) -> Path:
        """A checkpoint of VGG16, narrow, trained on made-up images."""
        with tarfile.open(self.cifar100) as archive:
            archive.extractall(self.folder, filter="data")
        self._run(
            "train --smoke --model vgg16 --dataset cifar100 --data_path cifar-100-binary --image_size 32 --members 200 "
            "--epochs 2 --schedule cosine --warmup_epochs 1 --until_accuracy 0.98 --out vgg16"
        )
        return self.folder / "vgg16" / "target.ckpt"

    @functools.cached_property
    def data(self) -> LabelledData:
        """What the rows in `location` are made of."""
        return make_location_like(0)

    @functools.cached_property
    def net(self) -> MLP:
        """A network that was trained on rows 0 to 999 of `data`, too long."""
        net, rows = MLP((446, 64, 30)), self.data.take(np.arange(1000))
        train_classifier(net, rows.features, rows.labels, TrainConfig(epochs=60, learning_rate=0.1, decay_every=None))
        return net

    def close(self) -> None:
        """Serves no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _pack(self, name: str, members: dict[str, bytes]) -> Path:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        served = self.folder / "served"
        served.mkdir(exist_ok=True)
        (served / name).write_bytes(gzip.compress(sink.getvalue(), 1))
        return served / name

    def _run(self, command: str) -> None:
        here, out = os.getcwd(), io.StringIO()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main(command.split())
        finally:
            os.chdir(here)
        assert code == 0, out.getvalue()

    @functools.cached_property
    def _address(self) -> str:
        """Where the archives are served."""
        folder = str(self.folder / "served")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given):
                super().__init__(*given, directory=folder)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"


# ---------------------------------------------------------------------------------------------- what a reader may have


def location(reader: Reader) -> None:
    """Location in data/location."""
    folder = reader.folder / "data" / "location"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(reader.shelf.location, folder)


def cifar100(reader: Reader) -> None:
    """CIFAR-100 in cifar-100-binary."""
    with tarfile.open(reader.shelf.cifar100) as archive:
        archive.extractall(reader.folder, filter="data")


def vgg16_checkpoint(reader: Reader) -> None:
    """The tutorial's checkpoint."""
    shutil.copy(reader.shelf.vgg16, reader.folder / "VGG16-100_781.ckpt")


def study(reader: Reader) -> None:
    """A study of Location in runs/location, in the place of what was there."""
    shutil.rmtree(reader.folder / "runs" / "location", ignore_errors=True)
    shutil.copytree(reader.shelf.study, reader.folder / "runs" / "location")


def found(reader: Reader) -> None:
    """An evaluation, which is what `mindefense.evaluate` returns."""
    recorded_outputs(reader)
    reader.names["found"] = evaluate_outputs(load_outputs(reader.folder / "outputs.npz"), attacks=("gap", "entropy"))


def recorded_outputs(reader: Reader) -> None:
    """outputs.npz, as docs/outputs.md describes it."""
    rng, is_member = np.random.default_rng(0), np.arange(400) < 200
    labels = rng.integers(3, size=400)
    logits = rng.normal(size=(400, 3))
    logits[np.arange(400), labels] += np.where(is_member, 3, 1)
    np.savez(reader.folder / "outputs.npz", logits=logits, labels=labels, is_member=is_member)


def live_models(reader: Reader) -> None:
    """A `classifier` of scikit-learn, a function `ask` that gives logits, and a `net`, with their rows."""
    classifier = RandomForestClassifier(5, random_state=0).fit(FEATURES[:MEMBERS], CLASSES[:MEMBERS])
    reader.names |= {"classifier": classifier, "ask": lambda rows: rows @ WEIGHTS}
    of_mindspore(reader)


def big_vectors(reader: Reader) -> None:
    """big.npz and big.npy, as docs/large_inputs.md describes them, for a defense of 30 classes, and a key."""
    logits = np.float32(np.random.default_rng(0).normal(0, 3, (200, 30)))
    np.savez(reader.folder / "big.npz", logits=logits, noised_logits=logits + np.float32(0.1))
    np.save(reader.folder / "big.npy", softmax(logits))
    write_key(reader.folder / "my.key")


def config_ini(reader: Reader) -> None:
    """DefenMI's config.ini as published, with the data where it says."""
    location(reader)
    folder = reader.folder / "data" / "location"
    data = load_location(folder)
    np.savez(folder / "data_complete.npz", x=data.features.astype(np.uint8), y=data.labels + 1)
    np.savez(folder / "shuffle_index.npz", x=np.random.default_rng(0).permutation(len(data)))
    (reader.folder / "config.ini").write_text(CONFIG_INI, encoding="utf-8")


CONFIG_INI = """
[dataset]
dataset = location

[location]
all_data_path = ./data/location/data_complete.npz
shuffle_index = ./data/location/shuffle_index.npz
result_folder = ./result/location/code_publish/
num_classes = 30
user_training_data_index_range = {"start":"0","end":"1000"}
user_testing_data_index_range = {"start":"1000","end":"2000"}
defense_member_data_index_range = {"start":"0","end":"1000"}
defense_nonmember_data_index_range = {"start":"1000","end":"2000"}
attacker_evaluate_member_data_range = {"start":"0","end":"1000"}
attacker_evaluate_nonmember_data_range = {"start":"2000","end":"3000"}
attacker_train_member_data_range = {"start":"3000","end":"3500"}
attacker_train_nonmember_data_range = {"start":"4000","end":"4500"}
user_epochs = 200
batch_size = 64
defense_epochs = 400
attack_epochs = 400
attack_shallow_model_epochs = 200
attack_shallow_model_batch_size = 64
delta = 1
epsilon = 3
beta = 0.1
max_iteration = 300
threshold = 10000
"""


def own_model(reader: Reader) -> None:
    """A trained `net` with its `features` and `labels`."""
    reader.names |= {
        "net": reader.shelf.net,
        "features": reader.shelf.data.features,
        "labels": reader.shelf.data.labels,
    }


def queries(reader: Reader) -> None:
    """Rows `x` to ask a model of Location about, and one batch of them, `x_64`."""
    x = make_location_like(1).features[:70]
    reader.names |= {"x": x, "x_64": x[:64]}


def defense(reader: Reader) -> None:
    """A `net` for Location and a `defense` for it, quick to search."""
    means = np.float32(np.random.default_rng(0).dirichlet(np.ones(30), 30))
    judged = DefenMI(DefenderClassifier(30), means, DefenMIConfig(max_iterations=5))
    reader.names |= {"net": MLP((446, 16, 30), seed=0), "defense": judged}


def guarded_images(reader: Reader) -> None:
    """An exported model of small images, `guarded_images`, and larger `images` for it."""

    class OfImages(nn.Cell):
        def __init__(self):
            super().__init__()
            self.flatten, self.dense = nn.Flatten(), nn.Dense(3 * 32 * 32, 5)

        def construct(self, x):
            return self.dense(self.flatten(x))

    export_guarded(OfImages(), None, "images", input_shape=(3, 32, 32), prepared="ImageTransform(32)")
    images = np.random.default_rng(0).integers(256, size=(5, 3, 36, 36)).astype(np.uint8)
    reader.names |= {"guarded_images": GuardedModel.load("images"), "images": images}


def noise(reader: Reader) -> None:
    """The noise of `x_64`, which whoever asks a graph without `GuardedModel` must make."""
    key = read_key("secrets/guarded.key")
    x_64 = reader.names["x_64"]
    reader.names["noise_64"] = KeyedNoise.of(key, reader.names["defense"].noise_scale)(x_64)


def defense_file(reader: Reader) -> None:
    """defense.ckpt, of a defense that needs no fitting, which has not been used yet."""
    shutil.rmtree(reader.folder / "defended")
    Rounding(1).save(reader.folder / "defense.ckpt")


def no_key(reader: Reader) -> None:
    """The key that commands used goes: the block makes one, and none is overwritten."""
    (reader.folder / "my.key").unlink()


# ----------------------------------------------------------------------------------------- models of other frameworks

FEATURES = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
CLASSES = np.random.default_rng(2).permutation(np.arange(600) % 3)
MEMBERS = 350
"""The first rows of `FEATURES` are the members."""


def of_torch(reader: Reader) -> None:
    """A `model` of PyTorch, with loaders that shuffle, and PyTorch itself as far as pages use it."""
    torch = torch_module()
    reader.patch.setitem(sys.modules, "torch", torch)
    rng = np.random.default_rng(3)

    def loader(rows):
        batches = [rows[first : first + 16] for first in range(0, len(rows), 16)]
        return [(FEATURES[batch].view(Tensor), CLASSES[batch].view(Tensor)) for batch in batches]

    members, others = rng.permutation(MEMBERS), MEMBERS + rng.permutation(len(FEATURES) - MEMBERS)
    reader.names |= {"model": TorchModel(torch), "features": FEATURES, "order": np.concatenate([others, members])}
    reader.names |= {"members": loader(members), "others": loader(others)}


def of_keras(reader: Reader) -> None:
    """A `model` whose answers are probabilities."""
    model = types.SimpleNamespace(predict=lambda features, verbose=1: softmax(features @ WEIGHTS))
    reader.names |= {"model": model, "features": FEATURES, **SAMPLES}


def of_scikit_learn(reader: Reader) -> None:
    """A forest whose classes have names."""
    names = np.array(["ash", "elm", "oak"])[CLASSES]
    model = RandomForestClassifier(5, random_state=0).fit(FEATURES[:MEMBERS], names[:MEMBERS])
    reader.names |= {"model": model, **SAMPLES, "y_members": names[:MEMBERS], "y_others": names[MEMBERS:]}


def of_bank(reader: Reader) -> None:
    """Functions that train a model and ask it, and recorded outputs of the target on the same rows."""
    reader.names |= {
        **SAMPLES,
        "train": lambda x, y: LogisticRegression(C=100, max_iter=500).fit(x, y),
        "answer": lambda model, x: model.decision_function(x),
    }
    target = LogisticRegression(C=100, max_iter=500).fit(SAMPLES["x_members"], SAMPLES["y_members"])
    x, y = (np.concatenate([SAMPLES[f"{name}_members"], SAMPLES[f"{name}_others"]]) for name in "xy")
    is_member = np.arange(len(y)) < len(SAMPLES["y_members"])
    np.savez(reader.folder / "outputs.npz", logits=target.decision_function(x), labels=y, is_member=is_member)


def of_mindspore(reader: Reader) -> None:
    """A `net`."""
    net = nn.Dense(4, 3, weight_init=ms.Tensor(WEIGHTS.T.copy()), bias_init="zeros")
    reader.names |= {"net": net, "features": FEATURES, **SAMPLES}


SAMPLES = {
    "x_members": FEATURES[:MEMBERS],
    "x_others": FEATURES[MEMBERS:],
    "y_members": CLASSES[:MEMBERS],
    "y_others": CLASSES[MEMBERS:],
}


class Tensor(np.ndarray):
    """As much of a PyTorch tensor as the pages use."""

    needs_grad = False

    def __array_finalize__(self, made_of):
        self.needs_grad = getattr(made_of, "needs_grad", False)

    def float(self):
        return self.astype(np.float32)

    def cpu(self):
        return self

    def detach(self):
        self.needs_grad = False
        return self

    def numpy(self):
        assert not self.needs_grad, "PyTorch says: call detach() first"
        return np.asarray(self)


class TorchModel:
    """A model that wants to be told that it is asked, and not trained, as pages promise to.

    Args:
        torch: What `torch_module` made.
    """

    def __init__(self, torch: types.ModuleType) -> None:
        self._torch, self._trains = torch, True

    def eval(self):
        self._trains = False

    def __call__(self, batch):
        assert not self._trains
        answer = (np.asarray(batch) @ WEIGHTS).view(Tensor)
        answer.needs_grad = self._torch.records
        return answer


def torch_module() -> types.ModuleType:
    """As much of PyTorch as the pages use."""
    torch = types.ModuleType("torch")

    @contextlib.contextmanager
    def no_grad():
        torch.records = False
        yield
        torch.records = True

    def cat(tensors):
        joined = np.concatenate(tensors).view(Tensor)
        joined.needs_grad = any(tensor.needs_grad for tensor in tensors)
        return joined

    vars(torch).update(
        records=True,
        no_grad=no_grad,
        from_numpy=lambda array: array.view(Tensor),
        cat=cat,
    )
    return torch
