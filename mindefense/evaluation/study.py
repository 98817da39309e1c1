"""The published pipeline, stage by stage: each leaves files in one folder that the next picks up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.attacks.metric import EntropyAttack, GapAttack, MaxConfidenceAttack
from mindefense.attacks.mindarmour import METHODS, MindArmourAttack
from mindefense.attacks.neural import NeuralAttack
from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into, save_checkpoint
from mindefense.confidence import softmax
from mindefense.data import Split, load_dataset, make_location_like, published_split, split_from_config
from mindefense.defenses.base import SearchDefense
from mindefense.defenses.classifier import DefenderClassifier, fit_defender
from mindefense.defenses.defended import DefendedModel, load_defense
from mindefense.defenses.defenmi import DefenMI, DefenMIConfig, class_mean_probs
from mindefense.defenses.memguard import MemGuard, MemGuardConfig
from mindefense.errors import CheckpointError, DataError, InputError
from mindefense.evaluation.config import StudyConfig
from mindefense.evaluation.protocol import Doors, Rows, conclude, evaluate_attack
from mindefense.evaluation.provenance import check_finished, read_config, sha256_of
from mindefense.files import check_writable, replacing, write_json
from mindefense.metrics import budget_table, utility_metrics
from mindefense.models.mlp import MLP, TARGET_WIDTHS
from mindefense.runtime import versions
from mindefense.target import Target, forward
from mindefense.training import (
    PUBLISHED_ATTACK,
    PUBLISHED_DEFENDER,
    PUBLISHED_TARGET,
    Epoch,
    TrainConfig,
    train_classifier,
)
from mindefense.types import (
    AttackResult,
    DefenseFacts,
    Evaluation,
    LabelledData,
    Samples,
    TargetFacts,
)

_SMOKE_SCALE, _SMOKE_EPOCHS = 0.2, 8


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
        self._doors: dict[str, Doors] = {}
        self.config = config if config is not None else read_config(self.out)
        self.data  # noqa: B018  a wrong path must show before anything is done
        self.split  # noqa: B018

    # ------------------------------------------------------------------ data

    @functools.cached_property
    def data(self) -> LabelledData:
        """The data set."""
        with self._timed("load data"):
            if self.config.data_path is None:
                data = make_location_like(self.config.seed)
            else:
                data = load_dataset(self.config.dataset, self.config.data_path)
        if data.features.ndim != 2:
            raise DataError(
                f"{data.name} features", expected="one row of features a sample", got=str(data.features.shape)
            )
        return data

    @functools.cached_property
    def split(self) -> Split:
        """Who gets which rows."""
        if self.config.split_config is not None:
            section = self.config.split_section or self.config.dataset
            split = split_from_config(self.config.split_config, section, self.data, seed=self.config.seed)
        else:
            split = published_split(self.data, seed=self.config.seed)
        if not self.config.smoke:
            return split
        roles = {name: rows for name, rows in vars(split).items() if isinstance(rows, np.ndarray)}
        few = {name: rows[: max(1, round(_SMOKE_SCALE * len(rows)))] for name, rows in roles.items()}
        return dataclasses.replace(split, name=f"{split.name} × {_SMOKE_SCALE:g}", **few)

    def rows(self, role: str) -> Rows:
        """The members and non-members of ``"target"``, ``"defender"``, ``"attacker"`` or ``"eval"``."""
        members, non_members = (getattr(self.split, f"{role}_{kind}") for kind in ("members", "non_members"))
        return Rows(self.data.take(members), self.data.take(non_members))

    # ------------------------------------------------------------------ stages

    def train_target(self, *, resume: bool = False) -> None:
        """Trains the target and writes ``study.json`` and ``target.ckpt``."""
        self._begin(resume=resume)
        self._train_net("target", self.rows("target").members, resume=resume)

    def adopt_target(self, checkpoint: str | os.PathLike) -> None:
        """Takes a trained target from a checkpoint instead; writes ``study.json`` and ``target.ckpt``.

        Its rows must be those that the split calls the target's members; a checkpoint of this package says which they
        were, and others are taken at the user's word.

        Raises:
            CheckpointError: If it is of another architecture, data set or rows.
        """
        held = load_checkpoint(checkpoint)
        held.expect("target")
        load_into(self._new_net(0), held)
        check_finished(held, "finish its training with --resume")
        mark = self._mark("target")
        if other := [name for name in mark if held.description.get(name, mark[name]) != mark[name]]:
            raise CheckpointError(
                f"{checkpoint} was not trained on this study's target members: its {' and '.join(other)} differ",
                fix="give the data, split and seed that it was trained with",
            )
        described = {"kind": "target", "origin": os.path.basename(checkpoint), **held.description, **mark}
        self._begin(resume=False)
        save_checkpoint(self.out / "target.ckpt", held.parameters, described)

    def train_shadow(self, *, resume: bool = False) -> None:
        """Trains the attacker's shadow of the target and writes ``shadow.ckpt``."""
        self._train_net("shadow", self.rows("attacker").members, resume=resume)

    def train_defender(self, *, resume: bool = False) -> None:
        """Trains the defender's classifier on the target's answers and writes ``defender.ckpt``."""
        probs, is_member = self._clean_probs("defender")
        config = self._shortened(PUBLISHED_DEFENDER, 2)
        with self._training("train defender", config.epochs) as on_epoch:
            fit_defender(
                probs,
                is_member,
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
            rows = self.rows(self._means_role())
            features = np.concatenate((rows.members.features, rows.non_members.features))
            means = class_mean_probs(forward(self._net("target"), features))
            defense = DefenMI(classifier, means, DefenMIConfig(alignment=alignment))
        defense.save(self.out / "defense.ckpt", description=self._mark("defense"))
        self._doors.clear()
        with self._timed("reshape"), self.progress.stage("reshape", 1) as advance:
            clean, defended, is_member = self._before_and_after()
            advance(1, f"{len(clean)} vectors")
        rows = self.rows("eval")
        with replacing(self.out / "defended.npz") as beside:
            np.savez(
                beside,
                clean_probs=clean,
                defended_probs=defended,
                labels=np.concatenate((rows.members.labels, rows.non_members.labels)),
                indices=np.concatenate((rows.members.indices, rows.non_members.indices)),
                is_member=is_member,
                synthetic=self.data.synthetic,
            )

    def evaluate(self) -> Evaluation:
        """Lets every attacker loose on the target, before and after the defense."""
        target, shadow = self._door("target"), self._door("shadow")
        everyone, known = self.rows("eval"), self.rows("attacker")
        fit_half, eval_half = everyone.halves(self.config.seed)
        results: list[AttackResult] = []
        with self._timed("attacks"), self.progress.stage("attack", 8) as advance:

            def attack(make: Callable[[], Attack], threat_model: str) -> dict[str, Attack]:
                auditor = threat_model == "auditor"
                with self._timed(f"attack {make().name}"):
                    found, fitted = evaluate_attack(
                        make,
                        threat_model=threat_model,
                        fit_on=shadow if threat_model == "shadow" else target,
                        fit_rows=known if threat_model == "shadow" else fit_half,
                        target=target,
                        eval_rows=eval_half if auditor else everyone,
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
            nn_config = self._shortened(PUBLISHED_ATTACK, 3)
            neural = attack(functools.partial(NeuralAttack, nn_config), "shadow")["static"]
        return self._report(results, neural)

    def run(self, *, pre_trained: str | os.PathLike | None = None, resume: bool = False) -> Evaluation:
        """All stages, one after the other; see `evaluate` for what comes out."""
        with self._timed("total"):
            if pre_trained is not None:
                self.adopt_target(pre_trained)
            else:
                self.train_target(resume=resume)
            self.train_shadow(resume=resume)
            if self.config.defense != "none":
                self.train_defender(resume=resume)
                self.defend()
            evaluation = self.evaluate()
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    # ------------------------------------------------------------------ parts

    def _train_net(self, role: str, samples: Samples, *, resume: bool) -> None:
        offset = ("target", "shadow").index(role)
        net = self._new_net(self.config.seed + offset)
        config = self._shortened(PUBLISHED_TARGET, offset)
        self._doors.clear()
        with self._training(f"train {role}", config.epochs) as on_epoch:
            train_classifier(
                net,
                samples.features,
                samples.labels,
                config,
                checkpoint=self.out / f"{role}.ckpt",
                resume=resume,
                description={
                    "kind": role,
                    "architecture": {"name": "mlp", "widths": list(net.widths)},
                    "versions": versions(),
                    **self._mark(role),
                },
                on_epoch=on_epoch,
            )

    def _new_net(self, seed: int) -> MLP:
        return MLP((self.data.features.shape[1], *TARGET_WIDTHS, self.data.num_classes), seed=seed)

    def _net(self, role: str) -> MLP:
        net = self._new_net(0)
        load_into(net, self._checkpoint(role, f"train-{role}" if role != "target" else "train"))
        return net

    def _defender(self) -> DefenderClassifier:
        classifier = DefenderClassifier(self.data.num_classes)
        load_into(classifier, self._checkpoint("defender", "train-defender"))
        return classifier

    def _checkpoint(self, kind: str, command: str) -> Checkpoint:
        path = self.out / f"{kind}.ckpt"
        if not path.is_file():
            raise CheckpointError(f"no {path.name} in {self.out}", fix=f"run `mindefense {command} --out {self.out}`")
        held = load_checkpoint(path)
        held.expect(kind)
        check_finished(held, f"run `mindefense {command} --out {self.out} --resume`")
        mark = self._mark(kind)
        if stale := [name for name, value in mark.items() if held.description.get(name) != value]:
            raise CheckpointError(
                f"{path} belongs to another study: its {', '.join(stale)} differ",
                fix=f"run `mindefense {command} --out {self.out}` again",
            )
        return held

    def _begin(self, *, resume: bool) -> None:
        """Notes what the study is about, and takes away what an earlier study in this folder had found."""
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
            mark["target"] = sha256_of(self._net("target").weights())
        if kind == "defense":
            mark["classifier"] = sha256_of(self._defender().weights())
        if kind == "shadow":
            mark["seed"] = self.config.seed
        return mark

    def _means_role(self) -> str:
        """Whose rows the class means come from; the published program takes the very rows it defends."""
        return "eval" if (self.config.defense, self.config.alignment) == ("defenmi", "published") else "defender"

    def _door(self, role: str) -> Doors:
        """The ways into target or shadow, both behind the same defense with a key of their own."""
        if role not in self._doors:
            defense = self._defense()
            net = self._net(role)
            defended = None
            if defense is not None:
                # From the seed, so that a study can be repeated; a served model draws its key at random.
                key = hashlib.sha256(f"{role} {self.config.seed}".encode()).digest()
                defended = Target(DefendedModel(net, defense, key=key).respond)
            self._doors[role] = Doors(Target.from_cell(net), defended)
        return self._doors[role]

    def _defense(self) -> SearchDefense | None:
        if self.config.defense == "none":
            return None
        held = self._checkpoint("defense", "defend").description
        if (held["defense"], held["config"]["alignment"]) != (self.config.defense, self.config.alignment):
            raise CheckpointError(
                f"defense.ckpt in {self.out}",
                expected=f"{self.config.defense} ({self.config.alignment})",
                got=f"{held['defense']} ({held['config']['alignment']})",
                fix=f"run `mindefense defend --out {self.out}` again",
            )
        return load_defense(self.out / "defense.ckpt")

    def _clean_probs(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """The target's undefended confidence vectors for a role's rows, and who of them is a member."""
        rows = self.rows(role)
        features = np.concatenate((rows.members.features, rows.non_members.features))
        return softmax(forward(self._net("target"), features)), np.arange(len(features)) < len(rows.members)

    def _before_and_after(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Confidence vectors of the evaluation's rows without and with the defense, and who is a member."""
        rows, doors = self.rows("eval"), self._door("target")
        features = np.concatenate((rows.members.features, rows.non_members.features))
        clean = np.exp(doors.clean.query(features))
        defended = clean if doors.defended is None else np.exp(doors.defended.query(features))
        return clean, defended, np.arange(len(features)) < len(rows.members)

    def _report(self, results: list[AttackResult], neural: Attack) -> Evaluation:
        clean, defended, is_member = self._before_and_after()
        rows = self.rows("eval")
        labels = np.concatenate((rows.members.labels, rows.non_members.labels))
        right = clean.argmax(axis=1) == labels
        test = self.rows("target").non_members
        doors = self._door("target")
        target = TargetFacts(
            member_accuracy=float(right[is_member].mean()),
            non_member_accuracy=float(right[~is_member].mean()),
            test_accuracy=_accuracy(self._net("target"), test),
            queries=doors.clean.queries,
        )
        defense, budgets, after = None, (), None
        if doors.defended is not None:
            held = load_defense(self.out / "defense.ckpt")
            classifier = held.classifier()
            known, is_known_member = self._clean_probs("defender")
            told = (classifier.member_probability(known) > 0.5) == is_known_member
            defense = DefenseFacts(
                name=held.name,
                alignment=held.config.alignment,
                classifier_accuracy=float(told.mean()),
                undefended=utility_metrics(clean, labels, clean_probs=clean),
                defended=utility_metrics(defended, labels, clean_probs=clean),
                queries=doors.defended.queries,
            )
            assert isinstance(neural, NeuralAttack)
            budgets = budget_table(
                clean,
                defended,
                correct_clean=(neural.member_probability(clean) > neural.threshold_) == is_member,
                correct_defended=(neural.member_probability(defended) > neural.threshold_) == is_member,
                g_clean=classifier.member_probability(clean),
                g_defended=classifier.member_probability(defended),
            )
            after = conclude(results, defended=True)
        shadow, rows = self._net("shadow"), self.rows("attacker")
        return Evaluation(
            dataset=self.data.name,
            synthetic=self.data.synthetic,
            smoke=self.config.smoke,
            seed=self.config.seed,
            settings={**dataclasses.asdict(self.config), "split": self.split.name, "order": self.split.permutation},
            versions=versions(),
            target=target,
            shadow_accuracy=(_accuracy(shadow, rows.members), _accuracy(shadow, rows.non_members)),
            defense=defense,
            attacks=tuple(results),
            budgets=budgets,
            undefended=conclude(results, defended=False),
            defended=after,
            timings=dict(self.timings),
        )

    def _shortened(self, config: TrainConfig, offset: int) -> TrainConfig:
        """The training of a role: a seed of its own, and few epochs in a smoke test."""
        epochs = _SMOKE_EPOCHS if self.config.smoke else config.epochs
        return dataclasses.replace(config, seed=self.config.seed + offset, epochs=epochs)

    @contextlib.contextmanager
    def _training(self, title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
        with self._timed(title), self.progress.stage(title, epochs) as advance:
            yield lambda epoch: advance(1, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.timings[stage] = round(time.perf_counter() - began, 3)


def _accuracy(net: MLP, samples: Samples) -> float:
    return float((forward(net, samples.features).argmax(axis=1) == samples.labels).mean())
