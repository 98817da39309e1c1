"""Facts of an evaluation in which nothing is wrong, and what a check says of facts."""

import numpy as np

from mindefense.evaluation.facts import AskedAgain, BankFacts, Facts, FitRows, Training
from mindefense.evaluation.validity import doubts
from mindefense.metrics import membership_metrics
from mindefense.types import AttackResult, Outputs, Trial

N = 2000


def trial_of(scores, is_member, samples, *, name="lr", knowledge="auditor", adversary="static", defended=False):
    metrics = membership_metrics(scores, is_member, threshold=0.5)
    return Trial(AttackResult(name, knowledge, adversary, defended, metrics), scores, 0.5, samples, is_member)


def clean_facts(seed=0, n=N, shape=(20,)):
    """Half members, a slight leak, four classes; every attacker sees it, and nothing is wrong."""
    rng = np.random.default_rng(seed)
    is_member = np.arange(n) < n // 2
    labels = rng.integers(4, size=n)
    probs = rng.dirichlet(np.ones(4) / 2, n)
    probs[np.arange(n), labels] += np.where(is_member, 1.5, 1.0)
    probs /= probs.sum(axis=1, keepdims=True)
    defended = np.where(probs == probs.max(axis=1, keepdims=True), 0.4, 0.2)
    answers = Outputs(labels, is_member, np.arange(n) + 10_000, probs, defended)
    judged = np.r_[0 : n // 4, n // 2 : n * 3 // 4]
    fitted = np.setdiff1d(np.arange(n), judged)
    features = rng.normal(size=(n, *shape)).astype(np.float32)
    trials = [
        trial_of(
            rng.normal(size=len(judged)) + 0.5 + 0.4 * is_member[judged],
            is_member[judged],
            judged,
            adversary=adversary,
            defended=adversary == "adaptive",
        )
        for adversary in ("static", "adaptive")
    ]
    return Facts(
        trials=trials,
        answers=answers,
        features=features,
        fitted_on={"auditor": FitRows(indices=fitted + 10_000, features=features[fitted], probs=probs[fitted])},
        treated_alike=True,
        keeps_labels=True,
        trainings={"nn": Training(losses=0.3 + 0.4 * 0.9 ** np.arange(100), accuracy=0.8)},
        shadow_accuracy=(1.0, 0.95),
        banks={"online": BankFacts(models=8, rows=1000, uncompared=20, accuracy=(1.0, 0.95))},
        asked_again=AskedAgain(rows=50, differing=0),
        not_asked={},
    )


CLEAN = clean_facts()


def look(facts, name):
    return {check.name: check for check in doubts(facts)}[name]
