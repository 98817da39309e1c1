"""An attack that writes down all that it is given, and rows, targets and runners to watch it with."""

import dataclasses

import numpy as np

from mindefense.attacks import Attack
from mindefense.attacks.registry import AttackContext, AttackSpec
from mindefense.defenses import LabelOnly, LaplaceOutput
from mindefense.evaluation import Attackers, AttackRunner, DefendedBy, EvaluationSets, Rows, Scenario
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Target
from mindefense.types import Samples

CONTEXT = AttackContext(seed=5)


class Recorder(Attack):
    """Scores by the first answer and writes down who was made, fitted and scored, on what, through which door."""

    threshold_ = 0.0

    def __init__(self, name, log, declared):
        self.name = name
        self.log = log
        for what, value in declared.items():
            setattr(self, what, value)

    def fit(self, target, members, non_members):
        self.log.append(("fit", self, target, members.indices.tolist(), non_members.indices.tolist()))
        return self

    def score(self, target, samples):
        self.log.append(("score", self, target, samples.indices.tolist()))
        return target.query(samples.features)[:, 0].astype(np.float64)


class Log(list):
    """All that was written down."""

    def entry(self, name, **declared):
        def make(context):
            attack = Recorder(name, self, declared)
            self.append(("make", attack, context))
            return attack

        return AttackSpec(make)

    def entries(self, **settings):
        return {name.replace("_", "-"): self.entry(name, **given) for name, given in settings.items()}

    def fits(self, name):
        """Door and rows of every fit, in order."""
        return [entry[2:] for entry in self if entry[0] == "fit" and entry[1].name == name]

    def scores(self, name):
        """Pairs of door and rows, members then non-members, in order."""
        asked = [entry[2:] for entry in self if entry[0] == "score" and entry[1].name == name]
        return [(first[0], first[1], second[1]) for first, second in zip(asked[::2], asked[1::2], strict=True)]

    def made(self, name):
        return [entry[2] for entry in self if entry[0] == "make" and entry[1].name == name]


def samples(first, n):
    features = np.arange(first, first + n, dtype=np.float32)[:, None]
    return Samples(features, np.zeros(n, np.int32), np.arange(first, first + n))


def rows(members, non_members, n=4):
    return Rows(samples(members, n), samples(non_members, n))


# Everyone is 0 … 7 and 100 … 107; of each, the first four are to fit auditors on.
SETS = EvaluationSets(rows(0, 100, 8), rows(0, 100), rows(4, 104), shadow=rows(300, 400, 5))


def models(sign=1.0, *, shadow=True, noised=False, sets=SETS, **more):
    """Target and shadow, undefended, or turned round by a defense."""
    target, other = (Target(lambda features: sign * features) for _ in range(2))
    defense = None if sign == 1 else DefendedBy(LaplaceOutput(1.0, 3) if noised else LabelOnly(), "keyed")
    bank = ShadowBank([other], np.zeros((1, 500), bool)) if shadow else None
    return Scenario(target, sets, bank, defense=defense, **more)


AUDITORS_FIT = ([0, 1, 2, 3], [100, 101, 102, 103])
AUDITORS_JUDGED = ([4, 5, 6, 7], [104, 105, 106, 107])
SHADOWS_FIT = (list(range(300, 305)), list(range(400, 405)))
EVERYONE = (list(range(8)), list(range(100, 108)))


def runner_of(entries, clean=None, *, progress=None, timed=None, knowledge=None, adversary=None, **sets):
    given = {name: value for name, value in (("knowledge", knowledge), ("adversary", adversary)) if value is not None}
    clean = clean or models()
    told = {} if timed is None else {"timed": timed}
    return AttackRunner(
        Attackers(entries, CONTEXT, **given),
        dataclasses.replace(clean, sets=dataclasses.replace(clean.sets, **sets)),
        progress=progress,
        **told,
    )


def states(trials):
    return [(trial.result.knowledge, trial.result.adversary, trial.result.defended) for trial in trials]
