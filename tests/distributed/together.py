"""What `ProcessGroup` and `SharedWork` promise, tried by all ranks; rank 0 writes what came out to the file named."""

import json
import os
import sys
import time

import numpy as np

from mindefense.data import make_cifar_like, make_location_like
from mindefense.defenses import DefendedModel, DefenMI, MemGuard
from mindefense.defenses.baselines import MemGuardBudget
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.defenmi import class_mean_probs
from mindefense.errors import InputError, RankError
from mindefense.images import ImageTransform
from mindefense.models import MLP, vgg16
from mindefense.ranks import join_crew
from mindefense.runtime import use_device
from mindefense.study import shared
from mindefense.study.config import StudyConfig
from mindefense.study.presets import preset_for
from mindefense.targets.cell import Network
from mindefense.training import TrainConfig, train_classifier


def parts(crew):
    """What each rank makes of the same arrays, of every type, with parts of different lengths and none."""
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.standard_normal((7, 3)).astype(np.float32),
        "bytes": rng.integers(256, size=(5, 2), dtype=np.uint8),
        "special": np.array([[np.nan, -0.0, np.inf, 1e-45]], np.float32),
        "wide": rng.standard_normal((4, 1)),
        "empty": np.empty((0, 3), np.int32),
    }
    found = {}
    for name, array in arrays.items():
        back = crew.lead("echo", {"name": name}, {name: array}, here=job(crew, "echo"))
        wanted = np.concatenate([array[: max(0, len(array) - rank)] for rank in range(crew.size)])
        found[name] = back.dtype == array.dtype and back.tobytes() == wanted.tobytes()
    found["nothing"] = crew.lead("nothing", here=job(crew, "nothing")) is None
    return found


def failures(crew):
    """What rank 0 hears of a rank that cannot do its part; the crew goes on after it."""
    found = {}
    for rank in (0, crew.size - 1):
        try:
            crew.lead("fail", {"rank": rank}, here=job(crew, "fail"))
        except (InputError, RankError) as error:
            found[f"rank {rank}"] = f"{type(error).__name__}: {error}"
    return found


def job(crew, name):
    def echo(settings, arrays):
        array = arrays[settings["name"]]
        return array[: max(0, len(array) - crew.rank)]

    def nothing(settings, arrays):
        return None

    def fail(settings, arrays):
        if crew.rank == settings["rank"]:
            raise InputError("it", expected="luck", got="none")
        return np.zeros(1)

    def sum_up(settings, arrays):
        crew.total(np.array([0.1 * (crew.rank + 1), 1e300 * (-1) ** crew.rank]))

    def fit(settings, arrays):
        fitted(arrays, crew)

    def fit_images(settings, arrays):
        fitted_to_images(arrays, crew)

    def told(settings, arrays):
        return np.array([OF_THIS_RANK])

    jobs = (echo, nothing, fail, sum_up, fit, fit_images, told)
    return {job.__name__: job for job in jobs}[name]


class Listening(ImageTransform):
    """Notes the seeds of crops and flips."""

    def batches(self, samples, batch_size, *, order=None, augment_seed=None):
        if augment_seed is not None:
            OF_THIS_RANK[:] = [augment_seed, batch_size, 0, 0]
        return super().batches(samples, batch_size, order=order, augment_seed=augment_seed)


OF_THIS_RANK = [0, 0, 0, 0]
"""Seed of the crops, rows of a batch, and how far weights and statistics are from the mean of all ranks."""


def fitted_to_images(arrays, crew):
    """Trains a network with batch normalization on crops and flips."""
    net = vgg16(5, 32, width_multiplier=0.03125, seed=crew.rank)
    config = TrainConfig(epochs=2, batch_size=32, momentum=0.9, augment=True)
    train_classifier(net, arrays["features"], arrays["labels"], config, prepare=Listening(32), crew=crew)
    for position, wanted in ((2, True), (3, False)):
        own = np.concatenate([p.asnumpy().ravel() for p in net.get_parameters() if p.requires_grad is wanted])
        OF_THIS_RANK[position] = float(np.abs(crew.total(own) / crew.size - own).max())


def fitted(arrays, crew, **settings):
    """Weights of a small network after two epochs of batches that do not divide by the ranks."""
    config = TrainConfig(epochs=2, batch_size=32, momentum=0.9, learning_rate=0.05)
    net = MLP((arrays["features"].shape[1], 16, 5), seed=crew.rank if crew is not None else 0)
    history = train_classifier(net, arrays["features"], arrays["labels"], config, crew=crew, **settings)
    weights = np.concatenate([parameter.asnumpy().ravel() for parameter in net.get_parameters()])
    return weights, [[epoch.loss, epoch.accuracy] for epoch in history]


def trainings(crew, checkpoint):
    rng = np.random.default_rng(3)
    rows = {"features": rng.standard_normal((100, 6)).astype(np.float32), "labels": rng.integers(5, size=100)}
    with crew.in_step("fit", {}, rows):
        together, history = fitted(rows, crew, checkpoint=checkpoint, checkpoint_every=1)
    with crew.in_step("fit", {}, rows):  # finished already: all ranks must find that out
        again, _ = fitted(rows, crew, checkpoint=checkpoint, resume=True)
    alone, history_alone = fitted(rows, None)
    images = {"features": rng.integers(256, size=(70, 3, 32, 32), dtype=np.uint8), "labels": rows["labels"][:70]}
    with crew.in_step("fit_images", {}, images):
        fitted_to_images(images, crew)
    return {
        "apart": float(np.abs(together - alone).max()),
        "moved": float(np.abs(alone).max()),
        "history apart": float(np.abs(np.array(history) - history_alone).max()),
        "resumed": bool((together == again).all()),
        "images": crew.lead("told", here=job(crew, "told")).tolist(),
    }


def studies(crew):
    """Whether networks and defenses answer with the same bits on all ranks as on this one alone."""
    found = {}
    small = {"image_size": 32, "width_multiplier": 0.03125, "batch_size": 16}
    for model, data, settings in (
        ("mlp", make_location_like(0), {}),
        ("vgg16", make_cifar_like(0, train=120, test=30), small),
    ):
        config = StudyConfig(model=model, smoke=True, **settings)
        preset = preset_for(config, columns=data.features.shape[1], classes=data.num_classes)
        work = shared.SharedWork(crew, preset, data.num_classes, amp="O0")
        work.open(config, columns=data.features.shape[1])
        net = preset.build(5)
        feed = {"prepare": preset.prepare, "batch_size": preset.query_batch, "as_graph": True}
        spread = work.network("target", net)
        samples = data.features[: 1700 if model == "mlp" else 75]
        alone, together = Network(net, **feed), Network(net, spread=spread, **feed)
        logits = alone.logits(samples)
        rows = []
        found[f"{model} logits"] = bool((together.logits(samples) == logits).all())
        found[f"{model} few"] = bool((together.logits(data.features[-3:]) == alone.logits(data.features[-3:])).all())
        found[f"{model} bank"] = answers_of_a_bank(work, preset, together, samples[:40], **feed)
        classifier = DefenderClassifier(data.num_classes, seed=1)
        memguard = MemGuard(classifier)
        for defense in (DefenMI(classifier, class_mean_probs(logits)), memguard, MemGuardBudget(memguard, 0.5)):
            few = samples[:60]
            answers = [
                DefendedModel(net, defense, key=b"k" * 32, spread=way, **feed).respond(few, on_progress=told)
                for way, told in ((None, None), (spread, rows.append))
            ]
            found[f"{model} {defense.name}"] = answers[0].tobytes() == answers[1].tobytes() and sum(rows) == 60
            rows.clear()
    return found


def answers_of_a_bank(work, preset, target, samples, **feed):
    """Whether networks that are asked in turns, and one that was replaced, answer with their own weights."""
    before = target.ask(samples)
    nets = [preset.build(seed) for seed in (6, 7, 8)]
    alone = [Network(net, **feed).logits(samples) for net in nets]
    bank = [Network(net, spread=work.network(f"model {k}", net), **feed) for k, net in enumerate(nets[:2])]
    found = [bank[number].ask(samples) for number in (0, 1, 0, 1)]
    found.append(Network(nets[2], spread=work.network("model 1", nets[2]), **feed).ask(samples))
    same = [(one == alone[number]).all() for one, number in zip(found, (0, 1, 0, 1, 2), strict=True)]
    return bool(all(same) and (target.ask(samples) == before).all() and (alone[1] != alone[2]).any())


def main(out):
    shared.FEW = 10  # on every rank, as they cut alike
    crew = join_crew(lambda: use_device("CPU"))
    if not crew.leads:
        jobs = shared.jobs_of(crew)
        jobs.update(
            {name: job(crew, name) for name in ("echo", "nothing", "fail", "sum_up", "fit", "fit_images", "told")}
        )
        crew.follow(jobs)
        return
    # MindSpore's collective operators on CPUs give up after 30 s; MINDEFENSE_SLOW=1 makes the ranks wait for longer.
    time.sleep(31 if os.environ.get("MINDEFENSE_SLOW") else 1)
    found = {"size": crew.size, "here": crew.on_this_host, "parts": parts(crew), "failures": failures(crew)}
    with crew.in_step("sum_up", {}, {}):
        found["total"] = crew.total(np.array([0.1, 1e300])).tolist()
    found["training"] = trainings(crew, out + ".ckpt")
    found["studies"] = studies(crew)
    crew.dismiss()
    crew.dismiss()
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
