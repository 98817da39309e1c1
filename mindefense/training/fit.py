"""Trains a classifier Cell epoch by epoch; a resumed training gives the same weights, unless its noise is secret."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checkpoint import load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.progress import Progress, epochs
from mindefense.ranks import ProcessGroup
from mindefense.runtime import compiled
from mindefense.targets.base import InputTransform
from mindefense.targets.cell import forward
from mindefense.training.config import Epoch, TrainConfig, check_loss, columns_of
from mindefense.training.engines import Engine, EpochGraph, Steps, trains_in_steps
from mindefense.training.private_engines import private_engine


def train_classifier(
    net: nn.Cell,
    features: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    *,
    prepare: InputTransform | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    description: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: Progress | bool | None = None,
    crew: ProcessGroup | None = None,
    noise_seed: int | None = None,
) -> tuple[Epoch, ...]:
    """Trains `net` in place.

    With ``config.noise_multiplier`` above 0 the training is differentially private (DP-SGD).

    Args:
        net: Cell from ``(N, ...)`` float32 to logits, ``(N, C)`` for softmax and ``(N, 1)`` for sigmoid.
        features: ``(N, ...)`` rows: float32, or of a type that `prepare` accepts.
        labels: ``(N,)``: int32 classes for softmax, 0/1 for sigmoid.
        config: Settings of the training.
        prepare: Converts the rows to the network's inputs, batch by batch; None if the rows are the inputs.
        checkpoint: Checkpoint file for the weights, a ``.ckpt`` path; None keeps them only in memory.
        checkpoint_every: Epochs between two writes; the last epoch is always written.
        resume: Continue from `checkpoint` if it exists. The weights are the same to the last bit as without the
            interruption, unless the network has dropout, whose random state is not stored.
        description: Added to the checkpoint's description, such as the network and the data.
        on_epoch: Called after every epoch instead of showing a progress bar.
        progress: True for a progress bar, False for none, None for a bar on a terminal and in a notebook.
        crew: The ranks that train the network together, each on its part of every batch; all of them call this
            function. `checkpoint` and `resume` are those of rank 0. The weights differ slightly with the number of
            ranks, because sums are rounded differently and batch normalization gets other parts. None to train on
            this rank alone.
        noise_seed: Seed of noise and sampling in private training, for tests and for shadow models of an attacker. None
            draws secret ones; with a known seed there is no privacy.

    Returns:
        The figures of all epochs, those before a resume included.

    Raises:
        InputError: If features and labels do not match, hold NaN, or the loss becomes NaN.
        CheckpointError: If `checkpoint` has another network, configuration or data.
        OutputError: If `checkpoint` cannot be written.
    """
    check_rows(net, features, labels, config.loss, prepare=prepare)
    # Converted to JSON's types, so that a resume can compare it with the checkpoint's.
    described = json.loads(json.dumps({**(description or {}), "train": dataclasses.asdict(config)}))
    if config.noise_multiplier:
        engine: Engine = private_engine(net, features, labels, config, prepare, noise_seed=noise_seed)
    elif trains_in_steps(config, prepare):
        engine = Steps(net, features, labels, config, prepare, crew)
    else:
        engine = EpochGraph(net, features, labels, config)
    history: list[Epoch] = []
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        history = _resume(net, checkpoint, described, config)
        if not config.ends(history):
            engine.restore(load_checkpoint(checkpoint))
    if crew is not None:
        history = _start_alike(net, engine, history, config, crew)
    with epochs("train", config.epochs, on_epoch, progress) as tell:
        while not config.ends(history):
            number = len(history)
            with compiled():
                loss, accuracy = engine.run(number)
            check_loss(loss, number, config)
            history.append(Epoch(number + 1, config.epochs, loss, accuracy))
            finished = config.ends(history)
            if checkpoint is not None and ((number + 1) % checkpoint_every == 0 or finished):
                state = {} if finished else engine.state()
                kept = {**described, "history": columns_of(history)}
                save_checkpoint(checkpoint, {**parameters_of(net), **state}, kept)
            tell(history[-1])
    net.set_train(False)
    return tuple(history)


def _start_alike(
    net: nn.Cell, engine: Engine, history: list[Epoch], config: TrainConfig, crew: ProcessGroup
) -> list[Epoch]:
    """Copies weights, optimizer state and history from rank 0 to every rank."""
    columns = columns_of(history)
    state = {**parameters_of(net), **engine.state(), **{f"history.{name}": np.array(columns[name]) for name in columns}}
    held = crew.agree(state)
    columns = {name: held.pop(f"history.{name}").tolist() for name in columns}
    if not crew.leads:
        for parameter in net.get_parameters():
            parameter.set_data(ms.Tensor(held[parameter.name]))
        engine.take(held)
    return _rows(columns, config)


def _rows(columns: Mapping[str, Sequence[float]], config: TrainConfig) -> list[Epoch]:
    """The inverse of `columns_of`."""
    rows = zip(columns["loss"], columns["accuracy"], strict=True)
    return [Epoch(number, config.epochs, loss, accuracy) for number, (loss, accuracy) in enumerate(rows, 1)]


def check_rows(
    net: nn.Cell, features: np.ndarray, labels: np.ndarray, loss: str, *, prepare: InputTransform | None = None
) -> None:
    """Checks that `net` can be trained on these rows.

    Args:
        net: The network.
        features: ``(N, ...)`` rows.
        labels: ``(N,)``.
        loss: ``"softmax"`` or ``"sigmoid"``.
        prepare: Converts the rows to the network's inputs; None if the rows are the inputs.

    Raises:
        InputError: If features and labels do not match or contain NaN, or `net` does not accept such rows or has too
            few classes.
    """
    if len(features) != len(labels) or not len(labels):
        raise InputError("labels", expected=f"one per row ({len(features)}, at least 1)", got=str(len(labels)))
    if features.dtype.kind == "f" and not np.isfinite(features).all():
        raise InputError("features", expected="finite numbers", got="NaN or infinity", fix="clean the data first")
    outputs = forward(net, features[:1], prepare=prepare, batch_size=1).shape[1]
    if loss == "sigmoid":
        wanted, fits = "0 or 1, and a network with one output", outputs == 1 and np.isin(labels, (0, 1)).all()
    else:
        wanted = f"classes 0…{outputs - 1}, as many as the network has outputs"
        fits = labels.min() >= 0 and labels.max() < outputs
    if not fits:
        raise InputError("labels", expected=wanted, got=f"{labels.min()}…{labels.max()} and {outputs} outputs")


def _resume(net: nn.Cell, path: str | os.PathLike, described: Mapping[str, Any], config: TrainConfig) -> list[Epoch]:
    """Loads the weights of an interrupted run and returns its history."""
    held = load_checkpoint(path)

    def agrees(key: str) -> bool:
        value = held.description.get(key)
        return key == "versions" or (config.is_described_by(value) if key == "train" else value == described[key])

    if differing := [key for key in described if not agrees(key)]:
        raise CheckpointError(
            f"{path} cannot be resumed: its {', '.join(differing)} differ from this run's",
            fix="give the same data and settings, or start afresh without --resume",
        )
    kept = held.description.get("history")
    if kept is None:
        raise CheckpointError(f"{path} cannot be resumed: it does not record its epochs", fix="start afresh")
    load_into(net, held)
    return _rows(kept, config)
