"""Builds, saves and loads the defenses of a study, and applies them to its networks."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from mindspore import nn

from mindefense.defenses.base import Defense
from mindefense.defenses.defended import load_defense
from mindefense.defenses.defenmi import class_mean_probs
from mindefense.defenses.registry import NONE, DefenseSpec
from mindefense.errors import CheckpointError
from mindefense.evaluation.scenario import EvaluationSets, Scenario
from mindefense.study.bank import StudyBank
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.roles import means_role


class StudyDefenses:
    """Builds defenses and applies them to target and shadow model.

    Args:
        parts: Settings, data and files of the study.
        networks: The study's networks.
        bank: The study's banks of shadow models.
    """

    def __init__(self, parts: StudyParts, networks: StudyNetworks, bank: StudyBank):
        self._parts, self._networks, self._bank = parts, networks, bank
        self._behind: dict[tuple[str, str, bool, tuple[str, ...]], Scenario] = {}
        self._banks: tuple[str, ...] = ()

    def build(self, spec: DefenseSpec) -> Defense:
        """Builds a defense from the study's networks and rows.

        Raises:
            CheckpointError: If the study lacks a stage that the defense needs.
        """

        def means() -> np.ndarray:
            rows = self._parts.rows.of(means_role(spec))
            return class_mean_probs(self._networks.ask("target", rows.features()))

        return spec.build(self._networks.classifier, means, self._parts.rows.data.num_classes)

    def save(self) -> Defense:
        """Builds the study's defense and writes its file.

        Raises:
            CheckpointError: See `build`.
        """
        spec = self._parts.config.parse_defense()
        defense = self.build(spec)
        description = {**self._networks.mark("defense"), "spec": str(spec)}
        defense.save(self._parts.store.path("defense"), description=description)
        self.forget()
        return defense

    def load(self) -> Defense | None:
        """The study's defense, from its file; None for a study without one.

        Raises:
            CheckpointError: See `check_saved`.
        """
        if self._parts.config.defense == NONE:
            return None
        self.check_saved()
        return load_defense(self._parts.store.path("defense"))

    def check_saved(self) -> None:
        """Raises CheckpointError if the defense's file is missing, damaged, or from another study or defense."""
        spec, store = self._parts.config.parse_defense(), self._parts.store
        held = self._networks.checkpoint("defense").description.get("spec")
        if held != str(spec):
            raise CheckpointError(
                f"defense.ckpt in {store.out}",
                expected=str(spec),
                got=str(held),
                fix=f"run `mindefense defend --out {store.out}` again",
            )

    def guard(self, name: str | None = None) -> tuple[nn.Cell, Defense | None, list[Path]]:
        """The target, its defense (None without one), and the files that both come from.

        Args:
            name: A defense in the format of ``--defense``, to be built; None for the study's own, from its file.
        """
        store = self._parts.store
        net, target = self._networks.network("target").cell, store.path("target")
        if name is None:
            defense = self.load()
            return net, defense, [target] if defense is None else [target, store.path("defense")]
        if name == NONE:
            return net, None, [target]
        spec = self._parts.config.parse_defense(name)
        return net, self.build(spec), [target, store.path("defender")] if spec.searches else [target]

    @functools.cached_property
    def sets(self) -> EvaluationSets:
        """The rows of the evaluation."""
        preset = self._parts.preset
        return self._parts.rows.sets(fit_share=preset.fit_share, has_shadow=preset.has_shadow)

    def use_banks(self, kinds: tuple[str, ...]) -> None:
        """Chooses the banks of shadow models that scenarios have from now on, if they are trained; at first none."""
        self._banks = kinds

    def undefended(self, *, with_shadow: bool = False) -> Scenario:
        """The undefended scenario, with the shadow model if `with_shadow`, and with the chosen banks that exist."""
        target = self._networks.network("target")  # first, so that a missing target is reported before other files
        shadow = self._networks.network("shadow") if with_shadow else None
        found = {kind: bank for kind in self._banks if (bank := self._bank.load(kind)) is not None}
        return Scenario.undefended(target, self.sets, shadow=shadow, banks=found)

    def unfinished_banks(self) -> list[str]:
        """For each chosen bank with fewer models than the study plans, what there is and what to do."""
        found = []
        for kind in self._banks:
            there, planned = self._bank.count(kind), self._bank.planned(kind)
            if 0 < there < planned:
                rest = f"`mindefense train-shadows --out {self._parts.store.out} --resume` trains the others"
                found.append(f"the {kind} bank has {there} of {planned} planned shadow models: {rest}")
        return found

    def bank_sizes(self) -> dict[str, object]:
        """The number of shadow models of each bank, as a setting of the results; empty without a bank."""
        counts = {kind: count for kind in self._banks if (count := self._bank.count(kind))}
        return {"shadows": counts} if counts else {}

    def behind(self, defense: Defense, name: str, noise: str) -> Scenario:
        """The scenario of target and shadow model, if trained, behind a defense. Repeated calls share stored answers.

        Args:
            defense: The defense.
            name: Name under which its answers are stored until `forget`.
            noise: ``"keyed"`` or ``"fresh"``.
        """
        has_shadow = self._parts.preset.has_shadow and self._parts.store.holds("shadow")  # it may not be trained yet
        key = (name, noise, has_shadow, self._banks)
        if key not in self._behind:
            self._behind[key] = self.undefended(with_shadow=has_shadow).behind(
                defense, seed=self._parts.config.seed, noise=noise, on_progress=self._parts.stages.count
            )
        return self._behind[key]

    def forget(self) -> None:
        """Deletes the stored answers of defended models."""
        self._behind.clear()
