"""The published pipeline, stage by stage: each leaves files in one folder that the next picks up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import nn
from mindspore.amp import auto_mixed_precision

from mindefense.attacks.registry import AttackContext
from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.confidence import softmax
from mindefense.data import Split
from mindefense.defenses.base import Defense
from mindefense.defenses.classifier import DefenderClassifier, fit_defender
from mindefense.defenses.defended import load_defense
from mindefense.defenses.defenmi import class_mean_probs
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation.canaries import plant
from mindefense.evaluation.config import AMP_LEVELS, EvaluationConfig, StudyConfig
from mindefense.evaluation.facts import Training
from mindefense.evaluation.lineup import NONE, DefenseSpec
from mindefense.evaluation.progress import Progress, Quiet
from mindefense.evaluation.provenance import check_finished, read_config
from mindefense.evaluation.recipe import SMOKE_EPOCHS, Recipe, load_data, recipe_for, split_data
from mindefense.evaluation.runner import AttackRunner, attackers_of
from mindefense.evaluation.scenario import EvaluationSets, Rows, Scenario
from mindefense.evaluation.shared import SharedWork
from mindefense.evaluation.summary import Subject, answers_of, checks_of, evidence_for, summarize
from mindefense.files import check_writable, replacing, sha256_of_file, write_json
from mindefense.images import augmented
from mindefense.private import train_privately
from mindefense.ranks import Crew
from mindefense.runtime import device_in_use, versions
from mindefense.targets.base import AsTheyAre
from mindefense.targets.cell import Network, parameters_sha256
from mindefense.training import PUBLISHED_DEFENDER, Epoch, TrainConfig, train_classifier, trains_in_steps
from mindefense.types import Answers, Check, Evaluation, Evidence, LabelledData, Samples, Trial

_COMMANDS = {"target": "train", "shadow": "train-shadow", "defender": "train-defender", "defense": "defend"}
"""The command that writes each checkpoint."""
_SEEDS = {"target": 0, "shadow": 1, "defender": 2}
"""What each network's seed is above the study's; the attack networks' is the next."""
FINDINGS = (
    *("results.json", "attacks.csv", "records.csv", "report.html", "report.md", "defended.npz"),
    *("comparison.json", "comparison.csv", "comparison.html", "comparison.md"),
)
"""What an evaluation leaves; a new study in the same folder takes it away."""
CLIP_NORM = 1.0
"""The longest gradient of one row in differentially private training."""
_TUTORIAL_SEED = 1
"""Seeds the tutorial's random crops and flips of members."""


class Study:
    """Target, defender, shadow, defense and attackers in one folder.

    Args:
        config: What to do; None to go on with the study that `out` holds.
        out: The folder.
        progress: Told what happens.
        amp: Precision that target and shadow are asked at: ``"O0"`` float32, ``"O2"`` float16 but for batch
            normalization, with float32 logits. They are trained in float32 either way.
        crew: The ranks of a job that share the heavy work: this is rank 0, and the others follow with `jobs_of`. None
            to do all of it in this process.

    Raises:
        InputError: If `config` is None and `out` holds no study, the data have too few rows for the split, or `amp` is
            neither.
        DataError: If the data set is missing or damaged.
    """

    def __init__(
        self,
        config: StudyConfig | None,
        out: str | os.PathLike,
        *,
        progress: Progress | None = None,
        amp: str = "O0",
        crew: Crew | None = None,
    ):
        if amp not in AMP_LEVELS:
            raise InputError("amp", expected=" or ".join(AMP_LEVELS), got=repr(amp))
        self.out, self.amp = Path(out), amp
        self.progress = progress or Quiet()
        self.timings: dict[str, float] = {}
        self._networks: dict[str, Network] = {}
        self._behind: dict[tuple[str, str, bool], Scenario] = {}
        self._on_rows: Callable[[int], None] | None = None
        self._on_reshaped: Callable[[int], None] | None = None
        self.config = config if config is not None else read_config(self.out)
        self._loaded  # noqa: B018  a wrong path must show before anything is done
        self.recipe  # noqa: B018
        self._shared = None
        if crew is not None and crew.size > 1:
            self._shared = SharedWork(crew, self.recipe, self.data.num_classes, amp=amp)
            self._shared.open(self.config, columns=self.data.features.shape[1])

    # ------------------------------------------------------------------ data

    @functools.cached_property
    def _loaded(self) -> tuple[LabelledData, Split, Rows | None]:
        """Data, split and canaries."""
        with self.timed("load data"):
            data = load_data(self.config)
        split = split_data(self.config, data)
        if not self.config.canaries:
            return data, split, None
        return plant(data, split, self.config.canaries, seed=self.config.seed)

    @property
    def data(self) -> LabelledData:
        """The data set."""
        return self._loaded[0]

    @property
    def split(self) -> Split:
        """Who gets which rows."""
        return self._loaded[1]

    @functools.cached_property
    def recipe(self) -> Recipe:
        """How target and shadow are built, fed and trained."""
        return recipe_for(self.config, columns=self.data.features.shape[1], classes=self.data.num_classes)

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
                fix="give the data, split, members and seed that it was trained with",
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
        self._behind.clear()
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
        if self.config.defense == NONE:
            raise InputError("defense", expected="one, such as defenmi", got="'none'", fix="start a study with one")
        spec = self._spec
        defense = self.build(spec)
        defense.save(self.out / "defense.ckpt", description={**self._mark("defense"), "spec": str(spec)})
        self._behind.clear()
        answers = self.answers(self.behind(defense, str(spec), "keyed"))
        assert answers.defended_probs is not None
        assert answers.labels is not None
        with replacing(self.out / "defended.npz", private=True) as beside:
            np.savez(
                beside,
                clean_probs=answers.clean_probs,
                defended_probs=answers.defended_probs,
                labels=answers.labels,
                indices=answers.indices,
                is_member=answers.is_member,
                synthetic=self.data.synthetic,
            )

    def evaluate(self, config: EvaluationConfig | None = None) -> Evaluation:
        """Attacks the target, without the defense and behind it.

        Args:
            config: Which attackers, and what they know; None for all.
        """
        config = config or EvaluationConfig()
        with self.timed("evaluate"):
            runner = self.runner(config)
            scenario, defense = runner.undefended, self._defense()
            if defense is not None:
                scenario = self.behind(defense, str(self._spec), config.noise)
            answers = self.answers(scenario)  # with a bar of its own, before the attackers ask
            trials = runner.run()
            if defense is not None:
                trials += runner.run(scenario, title=f"attack {defense.name}")
            evaluation = summarize(runner, scenario, trials, answers, self.subject(config))
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    def run(
        self,
        *,
        pre_trained: str | os.PathLike | None = None,
        resume: bool = False,
        config: EvaluationConfig | None = None,
    ) -> Evaluation:
        """All stages, one after the other; see `evaluate` for what comes out."""
        with self.timed("total"):
            if pre_trained is not None:
                self.adopt_target(pre_trained)
            else:
                self.train_target(resume=resume)
            if self.recipe.has_shadow:
                self.train_shadow(resume=resume)
            if self.needs_defender:
                self.train_defender(resume=resume)
            if self.config.defense != NONE:
                self.defend()
            evaluation = self.evaluate(config)
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    # ------------------------------------------------------------------ parts

    def _start_net(self, role: str) -> nn.Cell:
        return self.recipe.build(self.config.seed + _SEEDS[role])

    def _train_net(self, role: str, net: nn.Cell, samples: Samples, *, resume: bool) -> None:
        config = self._trainings[role]
        self._forget(role)
        with self._training(f"train {role}", config.epochs) as on_epoch:
            train = functools.partial(train_classifier, prepare=self.recipe.prepare)
            if self._shared is not None and trains_in_steps(config, self.recipe.prepare):
                train = self._shared.train
            train(
                net,
                samples.features,
                samples.labels,
                config,
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
        self._behind.clear()

    def _network(self, role: str) -> Network:
        """The trained target or shadow."""
        if role not in self._networks:
            net = self.recipe.build(0)
            load_into(net, self.checkpoint(role))
            self._networks[role] = Network(
                auto_mixed_precision(net, self.amp),
                prepare=self.recipe.prepare,
                batch_size=self.recipe.query_batch,
                on_rows=lambda count: self._on_rows and self._on_rows(count),
                as_graph=True,
                spread=None if self._shared is None else self._shared.network(role, net),
            )
        return self._networks[role]

    def _ask(self, role: str, samples: np.ndarray) -> np.ndarray:
        """Logits of target or shadow; what was asked before comes from memory."""
        network = self._network(role)
        if not (new := network.new(samples)):
            return network.logits(samples)
        with self.timed("query"), self.progress.stage(f"ask {role}", new) as advance:
            self._on_rows = lambda count: advance(count, "")
            logits = network.logits(samples)
            self._on_rows = None
            advance(0, f"{new} samples")
        return logits

    def defender(self) -> DefenderClassifier:
        """The defender's classifier, from its file."""
        classifier = DefenderClassifier(self.data.num_classes)
        load_into(classifier, self.checkpoint("defender"))
        return classifier

    def checkpoint(self, kind: str) -> Checkpoint:
        """A file of this study.

        Raises:
            CheckpointError: If it is missing, damaged, unfinished or of another study; names the command to run.
        """
        command = _COMMANDS[kind]
        path = self.out / f"{kind}.ckpt"
        if not path.is_file():
            raise CheckpointError(f"no {path.name} in {self.out}", fix=f"run `mindefense {command} --out {self.out}`")
        held = load_checkpoint(path)
        held.expect(kind)
        check_finished(held, f"run `mindefense {command} --out {self.out} --resume`")
        mark = self._mark(kind)
        stale = [name for name, value in mark.items() if held.description.get(name) != value]
        is_ours = kind in self._trainings and "origin" not in held.description
        if is_ours and not self._trainings[kind].is_described_by(held.description.get("train")):
            stale.append("train")
        if stale:
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
        if self.needs_defender:
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
            for name in FINDINGS:
                (self.out / name).unlink(missing_ok=True)
        write_json(self.out / "study.json", dataclasses.asdict(self.config))

    def _mark(self, kind: str) -> dict[str, Any]:
        """What a file of this study says it belongs to, so that a stale one is not taken for a fresh one."""
        split = self.split
        indices = {"target": split.target_members, "shadow": split.attacker_members}.get(kind)
        if indices is None:
            role = self._means_role(self._spec) if kind == "defense" else "defender"
            indices = np.concatenate((getattr(split, f"{role}_members"), getattr(split, f"{role}_non_members")))
        mark: dict[str, Any] = {
            "data": {"name": self.data.name, "synthetic": self.data.synthetic, "sha256": self.data.fingerprint},
            "rows": hashlib.sha256(indices.tobytes()).hexdigest(),
        }
        if kind in ("defender", "defense"):
            mark["target"] = self._network("target").digest()
        if kind == "defense" and self._spec.searches:
            mark["classifier"] = parameters_sha256(self.defender())
        if kind == "shadow":
            mark["seed"] = self.config.seed
        return mark

    def _means_role(self, spec: DefenseSpec) -> str:
        """Whose rows the class means come from; the published program takes the very rows it defends."""
        return "eval" if (spec.name, spec.alignment) == ("defenmi", "published") else "defender"

    @functools.cached_property
    def _spec(self) -> DefenseSpec:
        """The study's defense."""
        return DefenseSpec.parse(self.config.defense, alignment=self.config.alignment, max_steps=self.config.max_steps)

    @property
    def needs_defender(self) -> bool:
        """Whether the defense is built on a classifier of the defender's."""
        return self.config.defense != NONE and self._spec.searches

    def build(self, spec: DefenseSpec) -> Defense:
        """A defense from what the study has trained."""

        def means() -> np.ndarray:
            return class_mean_probs(self._ask("target", self.rows(self._means_role(spec)).features()))

        return spec.build(self.defender, means, self.data.num_classes)

    def _defense(self) -> Defense | None:
        """The study's defense, from its file."""
        if self.config.defense == NONE:
            return None
        held = self.checkpoint("defense").description.get("spec")
        if held != str(self._spec):
            raise CheckpointError(
                f"defense.ckpt in {self.out}",
                expected=str(self._spec),
                got=str(held),
                fix=f"run `mindefense defend --out {self.out}` again",
            )
        return load_defense(self.out / "defense.ckpt")

    def guard(self, name: str | None = None) -> tuple[nn.Cell, Defense | None, list[Path]]:
        """The target, what to put in front of it, and the files that they come from.

        Args:
            name: A defense as ``--defense`` names it, built from what the study has trained; None for the study's own,
                from its file.
        """
        net, target = self._network("target").cell, self.out / "target.ckpt"
        if name is None:
            defense = self._defense()
            return net, defense, [target] if defense is None else [target, self.out / "defense.ckpt"]
        if name == NONE:
            return net, None, [target]
        spec = DefenseSpec.parse(name, alignment=self.config.alignment, max_steps=self.config.max_steps)
        return net, self.build(spec), [target, self.out / "defender.ckpt"] if spec.searches else [target]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input of the target, after preparation."""
        return next((self.recipe.prepare or AsTheyAre()).batches(self.data.features[:1], 1)).shape[1:]

    def forget_defenses(self) -> None:
        """Drops what is remembered of defended answers."""
        self._behind.clear()

    def _shadow(self) -> Network | None:
        """The attacker's model, if the study has one; it may be trained last."""
        has_shadow = self.recipe.has_shadow and (self.out / "shadow.ckpt").is_file()
        return self._network("shadow") if has_shadow else None

    def behind(self, defense: Defense, name: str, noise: str) -> Scenario:
        """Target and shadow behind a defense; what was asked before comes from memory."""
        shadow = self._shadow()
        if (name, noise, shadow is not None) not in self._behind:
            undefended = Scenario.undefended(self._network("target"), self._sets, shadow=shadow)
            self._behind[name, noise, shadow is not None] = undefended.behind(
                defense,
                seed=self.config.seed,
                noise=noise,
                on_progress=lambda count: self._on_reshaped and self._on_reshaped(count),
            )
        return self._behind[name, noise, shadow is not None]

    @functools.cached_property
    def _sets(self) -> EvaluationSets:
        """The rows of the evaluation."""
        everyone = self.rows("eval")
        known, judged = everyone.divide(self.config.seed, share=self.recipe.fit_share)
        return EvaluationSets(
            everyone,
            known,
            judged,
            test=self.rows("target").non_members,
            shadow=self.rows("attacker") if self.recipe.has_shadow else None,
            defender=self.rows("defender") if len(self.split.defender_members) else None,
            canaries=self._loaded[2],
            treated_alike=not self.config.parity,
        )

    def runner(self, config: EvaluationConfig) -> AttackRunner:
        """The attackers on the target, and on the shadow if somebody learns from it.

        Raises:
            InputError: If none of the attackers that were asked for can take part, or rows of a kind are missing.
        """
        learns = self.recipe.has_shadow and "shadow" in config.knowledge
        undefended = Scenario.undefended(
            self._network("target"), self._sets, shadow=self._network("shadow") if learns else None
        )
        seed, smoke = self.config.seed, self.config.smoke
        context = AttackContext(seed=seed, smoke=smoke, max_queries=config.max_queries)
        attackers = attackers_of(
            config.attacks, context=context, knowledge=config.knowledge, adversary=config.adversary
        )
        runner = AttackRunner(attackers, undefended, progress=self.progress, timed=self.timed)
        runner.check_somebody()
        return runner

    def answers(self, scenario: Scenario) -> Answers:
        """What the target says of the evaluation's rows, without and with a defense."""
        samples = self.rows("eval").features()
        self._ask("target", samples)
        undefended = Scenario.undefended(self._network("target"), self._sets)
        if scenario.defense is None or not (new := scenario.target.new(samples)):
            return answers_of(undefended, scenario)
        # Rows with noise on the input come twice: noised out of the network, then out of the search.
        defense = scenario.defense.defense
        passes = 2 if defense is not None and defense.noise_scale else 1
        with self.timed("defend"), self.progress.stage("defend", passes * new) as advance:
            self._on_rows = self._on_reshaped = lambda count: advance(count, "")
            answers = answers_of(undefended, scenario)
            self._on_rows = self._on_reshaped = None
            advance(0, f"{new} samples")
        return answers

    def subject(self, config: EvaluationConfig, *, with_digests: bool = True) -> Subject:
        """What the study evaluates, as its results name it."""
        digests: dict[str, str | None] = {}
        if with_digests:
            digests = {"checkpoint": sha256_of_file(self.out / "target.ckpt"), "data": self.data.fingerprint}
        return Subject(
            dataset=self.data.name,
            synthetic=self.data.synthetic,
            smoke=self.config.smoke,
            seed=self.config.seed,
            settings=self.settings(config),
            trainings=self._trainings_done(),
            digests=digests,
        )

    def checks(
        self, runner: AttackRunner, scenario: Scenario, trials: Sequence[Trial], answers: Answers
    ) -> tuple[Check, ...]:
        """Every doubt about these trials that the study can look into."""
        subject = self.subject(EvaluationConfig(), with_digests=False)
        return checks_of(runner, scenario, trials, answers, subject)

    def evidence(self, runner: AttackRunner, answers: Answers) -> Evidence:
        """What these answers are about, and when."""
        return evidence_for(runner.undefended, answers, self.subject(EvaluationConfig()))

    def train_privately(self, noise_multiplier: float) -> None:
        """Trains target and shadow by differentially private descent, from the start.

        Raises:
            DeviceError: If the platform does not run it.
        """
        roles = {"target": self.rows("target").members}
        if self.recipe.has_shadow:
            roles["shadow"] = self.rows("attacker").members
        self._begin(resume=False)
        for role, samples in roles.items():
            net, config = self._start_net(role), self._trainings[role]
            self._forget(role)
            with self._training(f"train {role}", config.epochs) as on_epoch:
                train_privately(
                    net,
                    samples.features,
                    samples.labels,
                    config,
                    noise_multiplier=noise_multiplier,
                    clip_norm=CLIP_NORM,
                    on_epoch=on_epoch,
                )
            described = {"kind": role, "origin": "differentially private training", **self._mark(role)}
            save_checkpoint(self.out / f"{role}.ckpt", parameters_of(net), described)

    def _trainings_done(self) -> dict[str, Training]:
        """How the trainings of the study's networks went, as far as their files say."""
        done = {}
        for kind, chance in (("target", 1 / self.data.num_classes), ("shadow", 1 / self.data.num_classes),
                             ("defender", 0.5)):  # fmt: skip
            path = self.out / f"{kind}.ckpt"
            history = load_checkpoint(path).description.get("history") if path.is_file() else None
            if history:
                done[kind] = Training(losses=history["loss"], accuracy=history["accuracy"][-1], chance=chance)
        return done

    def settings(self, config: EvaluationConfig) -> dict[str, object]:
        """What was chosen, with names in place of paths: results are read on other machines, by other people."""
        chosen = {**dataclasses.asdict(self.config), **dataclasses.asdict(config)}
        chosen |= {"device": device_in_use(), "amp": self.amp}
        for name in ("data_path", "split_config", "members"):
            if isinstance(chosen[name], str):
                chosen[name] = Path(chosen[name]).name
        described = self.checkpoint("target").description
        return {
            **chosen,
            "pre_trained": described.get("origin"),
            "split": self.split.name,
            "order": self.split.permutation,
            "target_training": described.get("train"),
        }

    def _shortened(self, config: TrainConfig, role: str) -> TrainConfig:
        """The training of a role: a seed of its own, and few epochs in a smoke test."""
        epochs = SMOKE_EPOCHS if self.config.smoke else config.epochs
        return dataclasses.replace(config, seed=self.config.seed + _SEEDS[role], epochs=epochs)

    @contextlib.contextmanager
    def _training(self, title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
        with self.timed(title), self.progress.stage(title, epochs) as advance:
            done = 0

            def on_epoch(epoch: Epoch) -> None:
                nonlocal done
                advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
                done = epoch.number  # a resume starts with more than one

            yield on_epoch

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of what happens inside to a stage of `timings`."""
        began = time.perf_counter()
        yield
        self.timings[stage] = round(self.timings.get(stage, 0.0) + time.perf_counter() - began, 3)
