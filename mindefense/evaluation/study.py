"""The published pipeline, stage by stage: each leaves files in one folder that the next picks up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mindspore import nn

from mindefense.attacks.base import Attack
from mindefense.attacks.metric import EntropyAttack, GapAttack, MaxConfidenceAttack
from mindefense.attacks.mindarmour import METHODS, MindArmourAttack
from mindefense.attacks.neural import NeuralAttack
from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into, save_checkpoint
from mindefense.confidence import log_softmax, softmax
from mindefense.data import Split
from mindefense.defenses.base import SearchDefense
from mindefense.defenses.classifier import DefenderClassifier, fit_defender
from mindefense.defenses.defended import DefendedModel, load_defense
from mindefense.defenses.defenmi import DefenMI, DefenMIConfig, class_mean_probs
from mindefense.defenses.memguard import MemGuard, MemGuardConfig
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation.config import StudyConfig
from mindefense.evaluation.protocol import Doors, Rows, conclude, evaluate_attack
from mindefense.evaluation.provenance import check_finished, read_config, sha256_of
from mindefense.evaluation.recipe import SMOKE_EPOCHS, Recipe, load_data, recipe_for, split_data
from mindefense.files import check_writable, replacing, write_json
from mindefense.images import augmented
from mindefense.metrics import budget_table, utility_metrics
from mindefense.runtime import versions
from mindefense.target import Network, Target
from mindefense.training import PUBLISHED_ATTACK, PUBLISHED_DEFENDER, Epoch, TrainConfig, train_classifier
from mindefense.types import (
    AttackResult,
    DefenseFacts,
    Evaluation,
    LabelledData,
    Samples,
    TargetFacts,
)

_COMMANDS = {"target": "train", "shadow": "train-shadow", "defender": "train-defender", "defense": "defend"}
"""The command that writes each checkpoint."""
_SEEDS = {"target": 0, "shadow": 1, "defender": 2, "attack": 3}
"""What each network's seed is above the study's."""
_TUTORIAL_SEED = 1
"""Seeds the tutorial's random crops and flips of members."""


class Progress(Protocol):
    """What a study tells while it works."""

    def stage(self, title: str, total: int) -> contextlib.AbstractContextManager[Callable[[int, str], None]]:
        """Opens a stage of `total` units; the callable takes the units just done and a short note."""
        ...


class Quiet:
    """A progress that says nothing."""

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Swallows what is done."""
        yield lambda done, note: None


class Study:
    """Target, defender, shadow, defense and attackers in one folder.

    Args:
        config: What to do; None to go on with the study that `out` holds.
        out: The folder.
        progress: Told what happens.

    Raises:
        InputError: If `config` is None and `out` holds no study, or the data have too few rows for the split.
        DataError: If the data set is missing or damaged.
    """

    def __init__(self, config: StudyConfig | None, out: str | os.PathLike, *, progress: Progress | None = None):
        self.out = Path(out)
        self.progress = progress or Quiet()
        self.timings: dict[str, float] = {}
        self._networks: dict[str, Network] = {}
        self._doors: dict[str, Doors] = {}
        self._on_rows: Callable[[int], None] | None = None
        self._on_reshaped: Callable[[int], None] | None = None
        self.config = config if config is not None else read_config(self.out)
        self.data  # noqa: B018  a wrong path must show before anything is done
        self.split  # noqa: B018
        self.recipe  # noqa: B018

    # ------------------------------------------------------------------ data

    @functools.cached_property
    def data(self) -> LabelledData:
        """The data set."""
        with self._timed("load data"):
            return load_data(self.config)

    @functools.cached_property
    def split(self) -> Split:
        """Who gets which rows."""
        return split_data(self.config, self.data)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """How target and shadow are built, fed and trained."""
        return recipe_for(self.config, self.data)

    @functools.lru_cache(maxsize=4)  # noqa: B019  a study lives as long as the process
    def rows(self, role: str) -> Rows:
        """The members and non-members of ``"target"``, ``"defender"``, ``"attacker"`` or ``"eval"``.

        Raises:
            InputError: If the split leaves no rows for that role.
        """
        members, non_members = (getattr(self.split, f"{role}_{kind}") for kind in ("members", "non_members"))
        if not len(members):
            raise InputError(
                f"rows for the {role}",
                expected="some that are neither the target's members nor judged",
                got=f"none in the split {self.split.name}",
                fix="judge by fewer with --num_samples, or do without the defense or the shadow",
            )
        rows = Rows(self.data.take(members), self.data.take(non_members))
        if role == "eval" and self.config.parity:
            varied = augmented(rows.members.features, seed=_TUTORIAL_SEED)
            rows = Rows(dataclasses.replace(rows.members, features=varied), rows.non_members)
        return rows

    # ------------------------------------------------------------------ stages

    def train_target(self, *, resume: bool = False) -> None:
        """Trains the target and writes ``study.json`` and ``target.ckpt``."""
        net = self._start_net("target")  # a size may be wrong, which must show before anything is written
        self._begin(resume=resume)
        self._train_net("target", net, self.rows("target").members, resume=resume)

    def adopt_target(self, checkpoint: str | os.PathLike) -> None:
        """Takes a trained target from a checkpoint instead; writes ``study.json`` and ``target.ckpt``.

        Its rows must be those that the split calls the target's members; a checkpoint of this package says which they
        were, and others are taken at the user's word.

        Raises:
            CheckpointError: If it is of another architecture, data set or rows.
        """
        held = load_checkpoint(checkpoint)
        held.expect("target")
        load_into(self.recipe.build(0), held)
        check_finished(held, "finish its training with --resume")
        mark = self._mark("target")
        if other := [name for name in mark if held.description.get(name, mark[name]) != mark[name]]:
            raise CheckpointError(
                f"{checkpoint} was not trained on this study's target members: its {' and '.join(other)} differ",
                fix="give the data, split and seed that it was trained with",
            )
        described = {"kind": "target", "origin": os.path.basename(checkpoint), **held.description, **mark}
        self._begin(resume=False)
        self._forget("target")
        save_checkpoint(self.out / "target.ckpt", held.parameters, described)

    def train_shadow(self, *, resume: bool = False) -> None:
        """Trains the attacker's shadow of the target and writes ``shadow.ckpt``."""
        if not self.recipe.has_shadow:
            raise InputError(
                "shadow", expected="model mlp", got=self.config.model, fix="only auditors attack it so far"
            )
        self._train_net("shadow", self._start_net("shadow"), self.rows("attacker").members, resume=resume)

    def train_defender(self, *, resume: bool = False) -> None:
        """Trains the defender's classifier on the target's answers and writes ``defender.ckpt``."""
        rows = self.rows("defender")
        probs = softmax(self._ask("target", rows.features()))
        config = self._trainings["defender"]
        self._doors.clear()
        with self._training("train defender", config.epochs) as on_epoch:
            fit_defender(
                probs,
                rows.is_member(),
                config=config,
                checkpoint=self.out / "defender.ckpt",
                resume=resume,
                description=self._mark("defender"),
                on_epoch=on_epoch,
            )

    def defend(self) -> None:
        """Builds the defense from target and defender and reshapes the evaluation's vectors.

        Writes ``defense.ckpt``, all that the defense needs, and ``defended.npz``, the vectors before and after with
        labels, membership and the rows' indices.
        """
        if self.config.defense == "none":
            raise InputError("defense", expected="defenmi or memguard", got="'none'", fix="start a study with one")
        classifier = self._defender()
        alignment = self.config.alignment
        if self.config.defense == "memguard":
            defense = MemGuard(classifier, MemGuardConfig(alignment=alignment))
        else:
            means = class_mean_probs(self._ask("target", self.rows(self._means_role()).features()))
            defense = DefenMI(classifier, means, DefenMIConfig(alignment=alignment))
        defense.save(self.out / "defense.ckpt", description=self._mark("defense"))
        self._doors.clear()
        clean, defended = self._before_and_after()
        rows = self.rows("eval")
        with replacing(self.out / "defended.npz") as beside:
            np.savez(
                beside,
                clean_probs=clean,
                defended_probs=defended,
                labels=rows.labels(),
                indices=np.concatenate((rows.members.indices, rows.non_members.indices)),
                is_member=rows.is_member(),
                synthetic=self.data.synthetic,
            )

    def evaluate(self) -> Evaluation:
        """Lets every attacker loose on the target, before and after the defense."""
        target, everyone = self._door("target"), self.rows("eval")
        fit_part, eval_part = everyone.divide(self.config.seed, share=self.recipe.fit_share)
        shadow, known = target, everyone
        if self.recipe.has_shadow:
            shadow, known = self._door("shadow"), self.rows("attacker")
        self._before_and_after()
        results: list[AttackResult] = []
        number = 3 + len(METHODS) + self.recipe.has_shadow
        with self._timed("attacks"), self.progress.stage("attack", number) as advance:

            def attack(make: Callable[[], Attack], knowledge: str) -> dict[str, Attack]:
                auditor = knowledge == "auditor"
                with self._timed(f"attack {make().name}"):
                    found, fitted = evaluate_attack(
                        make,
                        knowledge=knowledge,
                        fit_on=shadow if knowledge == "shadow" else target,
                        fit_rows=known if knowledge == "shadow" else fit_part,
                        target=target,
                        eval_rows=eval_part if auditor else everyone,
                    )
                results.extend(found)
                advance(1, found[0].name)
                return fitted

            def smaller(grid: Mapping[str, Any]) -> dict[str, Any]:
                if not self.config.smoke:
                    return {}
                return {"grid": {name: values[:1] for name, values in grid.items()}, "n_jobs": 1}

            attack(GapAttack, "none")
            attack(MaxConfidenceAttack, "auditor")
            attack(EntropyAttack, "auditor")
            for method, grid in METHODS.items():
                attack(functools.partial(MindArmourAttack, method, seed=self.config.seed, **smaller(grid)), "auditor")
            neural = None
            if self.recipe.has_shadow:
                nn_config = self._shortened(PUBLISHED_ATTACK, "attack")
                neural = attack(functools.partial(NeuralAttack, nn_config), "shadow")["static"]
        return self._report(results, neural)

    def run(self, *, pre_trained: str | os.PathLike | None = None, resume: bool = False) -> Evaluation:
        """All stages, one after the other; see `evaluate` for what comes out."""
        with self._timed("total"):
            if pre_trained is not None:
                self.adopt_target(pre_trained)
            else:
                self.train_target(resume=resume)
            if self.recipe.has_shadow:
                self.train_shadow(resume=resume)
            if self.config.defense != "none":
                self.train_defender(resume=resume)
                self.defend()
            evaluation = self.evaluate()
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    # ------------------------------------------------------------------ parts

    def _start_net(self, role: str) -> nn.Cell:
        return self.recipe.build(self.config.seed + _SEEDS[role])

    def _train_net(self, role: str, net: nn.Cell, samples: Samples, *, resume: bool) -> None:
        config = self._trainings[role]
        self._forget(role)
        with self._training(f"train {role}", config.epochs) as on_epoch:
            train_classifier(
                net,
                samples.features,
                samples.labels,
                config,
                prepare=self.recipe.prepare,
                checkpoint=self.out / f"{role}.ckpt",
                checkpoint_every=self.recipe.checkpoint_every,
                resume=resume,
                description={
                    "kind": role,
                    "architecture": self.recipe.architecture,
                    "members": len(samples),
                    "versions": versions(),
                    **self._mark(role),
                },
                on_epoch=on_epoch,
            )

    def _forget(self, role: str) -> None:
        """Drops what is remembered of a network, since a new one is coming, and of all defenses."""
        self._networks.pop(role, None)
        self._doors.clear()

    def _network(self, role: str) -> Network:
        """The trained target or shadow."""
        if role not in self._networks:
            net = self.recipe.build(0)
            load_into(net, self._checkpoint(role))
            self._networks[role] = Network(
                net,
                prepare=self.recipe.prepare,
                batch_size=self.config.batch_size,
                on_rows=lambda count: self._on_rows and self._on_rows(count),
                as_graph=self.recipe.as_graph,
            )
        return self._networks[role]

    def _ask(self, role: str, samples: np.ndarray) -> np.ndarray:
        """Logits of target or shadow; what was asked before comes from memory."""
        network = self._network(role)
        if not (new := network.new(samples)):
            return network.logits(samples)
        with self._timed("query"), self.progress.stage(f"ask {role}", new) as advance:
            self._on_rows = lambda count: advance(count, "")
            logits = network.logits(samples)
            self._on_rows = None
            advance(0, f"{new} samples")
        return logits

    def _defender(self) -> DefenderClassifier:
        classifier = DefenderClassifier(self.data.num_classes)
        load_into(classifier, self._checkpoint("defender"))
        return classifier

    def _checkpoint(self, kind: str) -> Checkpoint:
        command = _COMMANDS[kind]
        path = self.out / f"{kind}.ckpt"
        if not path.is_file():
            raise CheckpointError(f"no {path.name} in {self.out}", fix=f"run `mindefense {command} --out {self.out}`")
        held = load_checkpoint(path)
        held.expect(kind)
        check_finished(held, f"run `mindefense {command} --out {self.out} --resume`")
        mark = self._mark(kind)
        if kind in self._trainings and "origin" not in held.description:
            # As JSON gives it back.
            mark["train"] = json.loads(json.dumps(dataclasses.asdict(self._trainings[kind])))
        if stale := [name for name, value in mark.items() if held.description.get(name) != value]:
            raise CheckpointError(
                f"{path} belongs to another study: its {', '.join(stale)} differ",
                fix=f"run `mindefense {command} --out {self.out}` again",
            )
        return held

    @functools.cached_property
    def _trainings(self) -> dict[str, TrainConfig]:
        """How each network is trained."""
        target = self.recipe.train
        return {
            "target": dataclasses.replace(target, seed=self.config.seed + _SEEDS["target"]),
            "shadow": dataclasses.replace(target, seed=self.config.seed + _SEEDS["shadow"]),
            "defender": self._shortened(PUBLISHED_DEFENDER, "defender"),
        }

    def _begin(self, *, resume: bool) -> None:
        """Notes what the study is about, and takes away what an earlier study in this folder had found."""
        if self.config.defense != "none":
            self.rows("defender")  # a split may leave none, which must show before the training
        check_writable(self.out)
        before = read_config(self.out) if (self.out / "study.json").is_file() else None
        if resume and before not in (None, self.config):
            differing = [
                field.name
                for field in dataclasses.fields(StudyConfig)
                if before and getattr(before, field.name) != getattr(self.config, field.name)
            ]
            raise InputError(
                f"{self.out} cannot be resumed: its study has another {', '.join(differing)}",
                fix="give the same settings, or start afresh without --resume",
            )
        if not resume:
            for name in ("results.json", "attacks.csv", "defended.npz"):
                (self.out / name).unlink(missing_ok=True)
        write_json(self.out / "study.json", dataclasses.asdict(self.config))

    def _mark(self, kind: str) -> dict[str, Any]:
        """What a file of this study says it belongs to, so that a stale one is not taken for a fresh one."""
        split = self.split
        indices = {"target": split.target_members, "shadow": split.attacker_members}.get(kind)
        if indices is None:
            role = self._means_role() if kind == "defense" else "defender"
            indices = np.concatenate((getattr(split, f"{role}_members"), getattr(split, f"{role}_non_members")))
        mark: dict[str, Any] = {
            "data": {"name": self.data.name, "synthetic": self.data.synthetic, "sha256": self.data.fingerprint},
            "rows": hashlib.sha256(indices.tobytes()).hexdigest(),
        }
        if kind in ("defender", "defense"):
            mark["target"] = sha256_of(self._network("target").cell)
        if kind == "defense":
            mark["classifier"] = sha256_of(self._defender())
        if kind == "shadow":
            mark["seed"] = self.config.seed
        return mark

    def _means_role(self) -> str:
        """Whose rows the class means come from; the published program takes the very rows it defends."""
        return "eval" if (self.config.defense, self.config.alignment) == ("defenmi", "published") else "defender"

    def _door(self, role: str) -> Doors:
        """The ways into target or shadow, both behind the same defense with a key of their own."""
        if role not in self._doors:
            network, defense = self._network(role), self._defense()
            defended = None
            if defense is not None:
                # From the seed, so that a study can be repeated; a served model draws its key at random.
                key = hashlib.sha256(f"{role} {self.config.seed}".encode()).digest()
                model = DefendedModel(network.cell, defense, key=key, **network.feed)
                defended = Target(
                    lambda samples: model.respond(
                        samples, clean_logits=network.logits(samples), on_progress=self._on_reshaped
                    )
                )
            self._doors[role] = Doors(Target(lambda samples: log_softmax(network.logits(samples))), defended)
        return self._doors[role]

    def _defense(self) -> SearchDefense | None:
        if self.config.defense == "none":
            return None
        held = self._checkpoint("defense").description
        if (held["defense"], held["config"]["alignment"]) != (self.config.defense, self.config.alignment):
            raise CheckpointError(
                f"defense.ckpt in {self.out}",
                expected=f"{self.config.defense} ({self.config.alignment})",
                got=f"{held['defense']} ({held['config']['alignment']})",
                fix=f"run `mindefense defend --out {self.out}` again",
            )
        return load_defense(self.out / "defense.ckpt")

    def _before_and_after(self) -> tuple[np.ndarray, np.ndarray]:
        """Confidence vectors of the evaluation's rows without and with the defense."""
        doors, samples = self._door("target"), self.rows("eval").features()
        self._ask("target", samples)
        clean = np.exp(doors.clean.query(samples))
        if doors.defended is None:
            return clean, clean
        if not (new := doors.defended.new(samples)):
            return clean, np.exp(doors.defended.query(samples))
        # DefenMI's rows come twice: noised out of the network, then out of the search.
        passes = 2 if self.config.defense == "defenmi" else 1
        with self._timed("defend"), self.progress.stage("defend", passes * new) as advance:
            self._on_rows = self._on_reshaped = lambda count: advance(count, "")
            defended = np.exp(doors.defended.query(samples))
            self._on_rows = self._on_reshaped = None
            advance(0, f"{new} samples")
        return clean, defended

    def _report(self, results: list[AttackResult], neural: Attack | None) -> Evaluation:
        doors, rows = self._door("target"), self.rows("eval")
        clean = np.exp(doors.clean.query(rows.features()))
        labels, is_member = rows.labels(), rows.is_member()
        right = clean.argmax(axis=1) == labels
        test = self.rows("target").non_members
        target = TargetFacts(
            member_accuracy=float(right[is_member].mean()),
            non_member_accuracy=float(right[~is_member].mean()),
            test_accuracy=self._accuracy("target", test),
            queries=doors.clean.queries,
        )
        defense, budgets, after = None, (), None
        if doors.defended is not None:
            held = load_defense(self.out / "defense.ckpt")
            classifier = held.classifier()
            defended = np.exp(doors.defended.query(rows.features()))
            known = self.rows("defender")
            told = classifier.member_probability(softmax(self._ask("target", known.features()))) > 0.5
            defense = DefenseFacts(
                name=held.name,
                alignment=held.config.alignment,
                classifier_accuracy=float((told == known.is_member()).mean()),
                undefended=utility_metrics(clean, labels, clean_probs=clean),
                defended=utility_metrics(defended, labels, clean_probs=clean),
                queries=doors.defended.queries,
            )
            if isinstance(neural, NeuralAttack):
                budgets = budget_table(
                    clean,
                    defended,
                    correct_clean=(neural.member_probability(clean) > neural.threshold_) == is_member,
                    correct_defended=(neural.member_probability(defended) > neural.threshold_) == is_member,
                    g_clean=classifier.member_probability(clean),
                    g_defended=classifier.member_probability(defended),
                )
            after = conclude(results, defended=True)
        shadow_accuracy = None
        if self.recipe.has_shadow:
            known = self.rows("attacker")
            shadow_accuracy = self._accuracy("shadow", known.members), self._accuracy("shadow", known.non_members)
        return Evaluation(
            dataset=self.data.name,
            synthetic=self.data.synthetic,
            smoke=self.config.smoke,
            seed=self.config.seed,
            settings=self._settings(),
            versions=versions(),
            target=target,
            shadow_accuracy=shadow_accuracy,
            defense=defense,
            attacks=tuple(results),
            budgets=budgets,
            undefended=conclude(results, defended=False),
            defended=after,
            timings=dict(self.timings),
        )

    def _settings(self) -> dict[str, object]:
        """What was chosen, with names in place of paths: results are read on other machines, by other people."""
        chosen = dataclasses.asdict(self.config)
        for name in ("data_path", "split_config"):
            chosen[name] = chosen[name] and Path(chosen[name]).name
        trained = self._checkpoint("target").description.get("train")
        return {**chosen, "split": self.split.name, "order": self.split.permutation, "target_training": trained}

    def _accuracy(self, role: str, samples: Samples) -> float:
        return float((self._network(role).logits(samples.features).argmax(axis=1) == samples.labels).mean())

    def _shortened(self, config: TrainConfig, role: str) -> TrainConfig:
        """The training of a role: a seed of its own, and few epochs in a smoke test."""
        epochs = SMOKE_EPOCHS if self.config.smoke else config.epochs
        return dataclasses.replace(config, seed=self.config.seed + _SEEDS[role], epochs=epochs)

    @contextlib.contextmanager
    def _training(self, title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
        with self._timed(title), self.progress.stage(title, epochs) as advance:
            done = 0

            def on_epoch(epoch: Epoch) -> None:
                nonlocal done
                advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
                done = epoch.number  # a resume starts with more than one

            yield on_epoch

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.timings[stage] = round(self.timings.get(stage, 0.0) + time.perf_counter() - began, 3)
