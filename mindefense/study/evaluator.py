"""Evaluation of a study: runs its attackers, and describes it in the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mindefense.attacks.registry import AttackContext
from mindefense.evaluation.attackers import attackers_of
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.facts import Training
from mindefense.evaluation.other_targets import check_others
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import Scenario
from mindefense.evaluation.summary import Subject, answers_of, checks_of, summarize
from mindefense.runtime import device_in_use
from mindefense.study.defending import StudyDefenses
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.training.accounting import spent_by
from mindefense.types import Check, Evaluation, Outputs, Trial


class Evaluator:
    """Runs attackers on a study's target, undefended and behind defenses.

    Args:
        parts: Settings, data and files of the study.
        networks: The study's networks.
        defenses: The study's defenses.
    """

    def __init__(self, parts: StudyParts, networks: StudyNetworks, defenses: StudyDefenses):
        self._parts, self._networks, self._defenses = parts, networks, defenses

    def evaluate(self, config: EvaluationConfig) -> Evaluation:
        """Attacks the target, without and with the study's defense."""
        runner = self.runner(config)
        scenario, defense = runner.undefended, self._defenses.load()
        if defense is not None:
            scenario = self._defenses.behind(defense, str(self._parts.config.parse_defense()), config.noise)
        answers = self.answers(scenario)  # before the attack, so that these queries have their own progress bar
        trials = runner.run()
        if defense is not None:
            trials += runner.run(scenario, title=f"attack {defense.name}")
        return summarize(runner, scenario, trials, answers, self.subject(config), targets=config.targets)

    def runner(self, config: EvaluationConfig) -> AttackRunner:
        """The runner of the attackers on the target, with the shadow model if `config.knowledge` has ``"shadow"``.

        Raises:
            InputError: If none of the requested attackers can take part, or members or non-members are missing.
        """
        learns = self._parts.preset.has_shadow and "shadow" in config.knowledge
        self._defenses.use_banks(config.banks())
        undefended = self._defenses.undefended(with_shadow=learns)
        seed, smoke = self._parts.config.seed, self._parts.config.smoke
        context = AttackContext(seed=seed, smoke=smoke, max_queries=config.max_queries)
        attackers = attackers_of(
            config.attacks, context=context, knowledge=config.knowledge, adversary=config.adversary
        )
        stages = self._parts.stages
        for line in self._defenses.unfinished_banks():
            stages.progress.say(line)
        runner = AttackRunner(attackers, undefended, progress=stages.progress, timed=stages.timed)
        runner.participants.check_somebody()
        check_others(runner, config.targets)
        return runner

    def answers(self, scenario: Scenario) -> Outputs:
        """The target's answers to the evaluation's rows, without and with the scenario's defense."""
        samples = self._parts.rows.of("eval").features()
        self._networks.ask("target", samples)  # the answers are stored, so the bar below counts only the defense
        undefended = self._defenses.undefended()
        if scenario.defense is None or not (new := scenario.target.new(samples)):
            return answers_of(undefended, scenario)
        # With noise on the input, each row is counted twice: by the network on noised inputs, and by the search.
        defense = scenario.defense.defense
        passes = 2 if defense is not None and defense.noise_scale else 1
        with self._parts.stages.counting("defend", "defend", passes * new) as advance:
            answers = answers_of(undefended, scenario)
            advance(0, f"{new} samples")
        return answers

    def subject(self, config: EvaluationConfig, *, with_digests: bool = True) -> Subject:
        """Description of the study for its results."""
        data = self._parts.rows.data
        digests: dict[str, str | None] = {}
        if with_digests:
            digests = {"checkpoint": self._parts.store.digest("target"), "data": data.fingerprint}
        return Subject(
            dataset=data.name,
            synthetic=data.synthetic,
            smoke=self._parts.config.smoke,
            seed=self._parts.config.seed,
            settings=self.settings(config),
            trainings=self._trainings_done(),
            digests=digests,
        )

    def checks(
        self, runner: AttackRunner, scenario: Scenario, trials: Sequence[Trial], answers: Outputs
    ) -> tuple[Check, ...]:
        """All checks of these trials that the study can compute."""
        subject = self.subject(EvaluationConfig(), with_digests=False)
        return checks_of(runner, scenario, trials, answers, subject)

    def settings(self, config: EvaluationConfig) -> dict[str, object]:
        """The chosen settings, with file names instead of paths, because results may be published."""
        chosen = {**dataclasses.asdict(self._parts.config), **dataclasses.asdict(config)}
        chosen |= {"device": device_in_use(), "amp": self._parts.amp}
        chosen.pop("shadows")  # the number that was planned; below is the number of those that took part
        for name in ("data_path", "split_config", "members"):
            if isinstance(chosen[name], str):
                chosen[name] = Path(chosen[name]).name
        described, split = self._networks.checkpoint("target").description, self._parts.rows.split
        return {
            **chosen,
            "pre_trained": described.get("origin"),
            "split": split.name,
            "order": split.permutation,
            "target_training": described.get("train"),
            "batch_size": self._parts.preset.train.batch_size,
            **({"privacy": privacy} if (privacy := self.privacy()) else {}),
            **self._defenses.bank_sizes(),
        }

    def privacy(self) -> dict[str, float] | None:
        """What the training of the target has spent; None if it was not private."""
        held = self._networks.checkpoint("target").description
        config = self._networks.trainings["target"]
        if not config.noise_multiplier or "origin" in held:  # it was trained elsewhere
            return None
        return spent_by(config, len(self._parts.rows.split.target_members))

    def _trainings_done(self) -> dict[str, Training]:
        """The trainings of the study's networks, as far as their files record them."""
        by_class = 1 / self._parts.rows.data.num_classes
        done = {}
        for kind, chance in (("target", by_class), ("shadow", by_class), ("defender", 0.5)):
            if history := self._parts.store.history(kind):
                done[kind] = Training(losses=history["loss"], accuracy=history["accuracy"][-1], chance=chance)
        return done
