"""The stages of a study that train a network, or take a trained one from a checkpoint."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from mindspore import nn

from mindefense.checkpoint import load_checkpoint, load_into, parameters_of
from mindefense.confidence import softmax
from mindefense.defenses.classifier import fit_defender
from mindefense.errors import CheckpointError, InputError
from mindefense.private import train_privately
from mindefense.runtime import versions
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.provenance import check_finished
from mindefense.training import train_classifier, trains_in_steps
from mindefense.training.accounting import spent_by
from mindefense.types import Samples

CLIP_NORM = 1.0
"""Clipping norm of the gradient of one row in differentially private training."""


class Trainer:
    """Trains the networks of a study and writes their checkpoints.

    Args:
        parts: Settings, data and files of the study.
        networks: The study's networks; those that are trained again are dropped from it.
    """

    def __init__(self, parts: StudyParts, networks: StudyNetworks):
        self._parts, self._networks = parts, networks

    def begin(self, *, resume: bool) -> None:
        """Writes the settings of the study; see `StudyStore.begin`.

        Raises:
            InputError: Also if the defense needs a defender and the split has no rows for it.
        """
        if self._parts.config.needs_defender:
            self._parts.rows.of("defender")  # raises before the training if the split has none
        self._parts.store.begin(self._parts.config, resume=resume)

    def samples(self, role: str) -> Samples:
        """The training rows of target or shadow model."""
        return self._parts.rows.of({"target": "target", "shadow": "attacker"}[role]).members

    def train_target(self, *, resume: bool) -> None:
        """Begins the study and trains the target."""
        net = self._networks.start("target")  # raises for an invalid size before anything is written
        config = self._networks.trainings["target"]  # the search for the noise may fail, so it comes before any change
        self.begin(resume=resume)
        if config.noise_multiplier:
            spent = spent_by(config, len(self.samples("target")))
            self._parts.stages.progress.say(
                f"differentially private training: ε = {spent['epsilon']:.3g} at δ = {spent['delta']:.2g} for each "
                f"member, by {spent['steps']:,} steps with noise of {config.noise_multiplier:.3g} clipping norms"
            )
        self._train("target", net, resume=resume)

    def train_shadow(self, *, resume: bool) -> None:
        """Trains the shadow model."""
        self._train("shadow", self._networks.start("shadow"), resume=resume)

    def adopt_target(self, checkpoint: str | os.PathLike) -> None:
        """Begins the study with a target that was trained elsewhere.

        Raises:
            CheckpointError: If it has another architecture, or was trained on another data set or other rows.
        """
        if self._parts.config.epsilon is not None:
            raise InputError("epsilon", expected="none with a given target, whose training is unknown",
                             got=f"{self._parts.config.epsilon:g}")  # fmt: skip
        held = load_checkpoint(checkpoint)
        held.expect("target")
        net = self._parts.preset.build(0)
        load_into(net, held)
        check_finished(held, "finish its training with --resume")
        mark = self._networks.mark("target")
        if other := [name for name in mark if held.description.get(name, mark[name]) != mark[name]]:
            raise CheckpointError(
                f"{checkpoint} was not trained on this study's target members: its {' and '.join(other)} differ",
                fix="give the data, split, members and seed that it was trained with",
            )
        described = {"kind": "target", "origin": os.path.basename(checkpoint), **held.description, **mark}
        self.begin(resume=False)
        self._networks.forget("target")
        # A copy and not a link, because the study's file must record the origin, which the user's file may lack.
        path = self._parts.store.path("target")
        is_own = path.resolve() == Path(checkpoint).resolve()
        self._parts.store.save("target", parameters_of(net), described)
        if not is_own:
            self._parts.stages.progress.say(
                f"{path} is a copy of {checkpoint} ({path.stat().st_size / 1e6:,.1f} MB) that also records data and "
                "rows; the given file is not changed"
            )

    def train_defender(self, *, resume: bool) -> None:
        """Trains the defender's classifier on the target's answers."""
        rows = self._parts.rows.of("defender")
        probs = softmax(self._networks.ask("target", rows.features()))
        config = self._networks.trainings["defender"]
        with self._parts.stages.training("train defender", config.epochs) as on_epoch:
            fit_defender(
                probs,
                rows.is_member(),
                config=config,
                checkpoint=self._parts.store.path("defender"),
                resume=resume,
                description=self._networks.mark("defender"),
                on_epoch=on_epoch,
            )

    def train_privately(self, noise_multiplier: float) -> None:
        """Begins the study and trains target and shadow model by differentially private gradient descent.

        Raises:
            DeviceError: If the platform does not support it.
        """
        roles = ("target", "shadow") if self._parts.preset.has_shadow else ("target",)
        samples = {role: self.samples(role) for role in roles}
        self.begin(resume=False)
        for role in roles:
            net, config = self._networks.start(role), self._networks.trainings[role]
            self._networks.forget(role)
            with self._parts.stages.training(f"train {role}", config.epochs) as on_epoch:
                train_privately(
                    net,
                    samples[role].features,
                    samples[role].labels,
                    config,
                    noise_multiplier=noise_multiplier,
                    clip_norm=CLIP_NORM,
                    on_epoch=on_epoch,
                )
            described = {"kind": role, "origin": "differentially private training", **self._networks.mark(role)}
            self._parts.store.save(role, parameters_of(net), described)

    def _train(self, role: str, net: nn.Cell, *, resume: bool) -> None:
        samples, config, preset = self.samples(role), self._networks.trainings[role], self._parts.preset
        self._networks.forget(role)
        with self._parts.stages.training(f"train {role}", config.epochs) as on_epoch:
            # The target's noise is secret; that of the attacker's model need not be.
            noise_seed = None if role == "target" else config.seed
            train = functools.partial(train_classifier, prepare=preset.prepare, noise_seed=noise_seed)
            shared = self._parts.shared
            if shared is not None and trains_in_steps(config, preset.prepare):
                train = shared.train
            train(
                net,
                samples.features,
                samples.labels,
                config,
                checkpoint=self._parts.store.path(role),
                checkpoint_every=preset.checkpoint_every,
                resume=resume,
                description={
                    "kind": role,
                    "architecture": preset.architecture,
                    "members": len(samples),
                    "versions": versions(),
                    **self._networks.mark(role),
                },
                on_epoch=on_epoch,
            )
