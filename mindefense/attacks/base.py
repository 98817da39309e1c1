"""The contract of every attack."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from mindefense.checks import check_scores
from mindefense.errors import InputError
from mindefense.metrics import best_threshold
from mindefense.targets.base import Target
from mindefense.types import Samples


@dataclasses.dataclass(frozen=True, eq=False)
class FitInParts:
    """A fit whose long part needs neither the target nor the attack, so that another process can do it.

    Attributes:
        work: The long part. It is pickled, and should use one core and not import MindSpore, which takes seconds.
        finish: Takes the result of `work`, in the attack's process. The attack is then fitted, as by `Attack.fit`.
    """

    work: Callable[[], Any]
    finish: Callable[[Any], object]


class Attack(abc.ABC):
    """Is fitted to samples whose membership the attacker knows, and then scores other samples.

    The target and the samples that `fit` is called with determine the threat model. An auditor is fitted on known
    members of the target itself, a shadow attacker on a shadow model. An adaptive attacker is fitted behind the same
    defense. The attributes below, of the class or of the object, determine how an attack takes part in an evaluation.

    Attributes:
        name: The attack's name in results.
        needs_fit: Whether `fit` learns anything. An attack without fitting is evaluated once, on all rows.
        learns_from: ``"auditor"``, ``"shadow"`` or both: the knowledge that it may be fitted with. ``"online"`` and
            ``"offline"`` are for attacks with a bank of shadow models; see `mindefense.attacks.bank.BankAttack`.
        fits_scores: Whether the scores depend on the samples it was fitted on; it is then not evaluated on them. False
            if `fit` only finds `threshold_`: its ranking may then be evaluated on every sample.
        fits_in_parts: Whether `fit_in_parts` may return the parts of `fit`. Such attacks are fitted side by side.
        asks: ``"samples"`` if it queries the target with the samples alone; ``"variants"`` if also with changed
            samples, for which recorded outputs have no answers.
        needs_labels: Whether it uses the true classes, which recorded outputs may lack.
        needs_randomness: Whether it is useful only if answers depend on noise.
        max_samples: Largest number of members, and of non-members, that it is fitted and evaluated on; None for all.
        threshold_: After `fit`: samples with a higher score are classified as members.
        stopped_: After an iterative `fit`: how it ended without converging, as part of a sentence about the attack,
            such as ``"stopped at its limit of 300 iterations"``; None if it converged.
        own_threshold: The threshold of the attack's authors, if it may differ from `threshold_`; otherwise None.
    """

    name: ClassVar[str] | str
    needs_fit: ClassVar[bool] | bool = True
    fits_scores: ClassVar[bool] | bool = True
    fits_in_parts: ClassVar[bool] | bool = False
    learns_from: ClassVar[tuple[str, ...]] | tuple[str, ...] = ("auditor", "shadow")
    asks: ClassVar[str] | str = "samples"
    needs_labels: ClassVar[bool] | bool = True
    needs_randomness: ClassVar[bool] | bool = False
    max_samples: ClassVar[int | None] | int | None = None
    threshold_: float
    stopped_: str | None
    own_threshold: ClassVar[float | None] = None

    def unsupported(self, samples: Samples) -> str | None:
        """The reason why it cannot attack such samples, for the user; None if it can."""
        return None

    @abc.abstractmethod
    def fit(self, target: Target, members: Samples, non_members: Samples) -> Attack:
        """Learns from the target's answers to `members`, on which it was trained, and `non_members`; returns self."""

    def fit_in_parts(self, target: Target, members: Samples, non_members: Samples) -> FitInParts | None:
        """Queries the target as `fit` does, and returns the rest of `fit`; None if only `fit` can do it."""
        return None

    @abc.abstractmethod
    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """``(N,)`` float64, higher = more likely a member."""


class ScoreAttack(Attack):
    """An attack whose score needs no learning; `fit` finds the threshold of the best balanced accuracy."""

    def fit(self, target: Target, members: Samples, non_members: Samples) -> ScoreAttack:
        """Finds the threshold that separates these members best from these non-members."""
        scores = np.concatenate([scores_of(self, target, samples, self.name) for samples in (members, non_members)])
        self.threshold_ = best_threshold(scores, np.arange(len(scores)) < len(members))
        return self


def scores_of(attack: Attack, target: Target, samples: Samples, name: str) -> np.ndarray:
    """The attack's scores of samples; ``(N,)`` float64.

    Raises:
        InputError: If there is not one number per sample; the message calls the attack `name`.
    """
    what = f"scores of attack {name}"
    scores = check_scores(attack.score(target, samples), name=what)
    if len(scores) != len(samples):
        raise InputError(what, expected=f"one for each of {len(samples)} samples", got=str(len(scores)))
    return scores


def prior_threshold(members: Samples, non_members: Samples) -> float:
    """The threshold for a membership probability that was fitted on these samples: the share of members among them.

    By Bayes' rule, a posterior above the prior is a likelihood ratio above 1. This rule has the highest balanced
    accuracy for any numbers of members and non-members; with equal numbers the threshold is 0.5. The prior is used
    instead of the best threshold on the scores of the fit samples, because a classifier may have memorized them.

    Returns:
        A share, 0 … 1.

    Source:
        Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, theorem 2.
    """
    return len(members) / (len(members) + len(non_members))


def check_fitted(attack: Attack, learned: str) -> None:
    """Raises InputError if `attack` does not yet have the attribute `learned`, which `fit` sets."""
    if not hasattr(attack, learned):
        raise InputError(f"attack {attack.name}", expected="a fitted attack", got="none", fix="call fit first")


@contextlib.contextmanager
def convergence_noted() -> Iterator[list[str]]:
    """Collects scikit-learn's warnings about fits that did not converge; other warnings are shown as usual.

    Warnings in other processes, and warnings that the caller of the fit suppresses, are not collected; see
    `how_stopped`.
    """
    from sklearn.exceptions import ConvergenceWarning

    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ConvergenceWarning)
        shown = warnings.showwarning

        def note(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, ConvergenceWarning):
                said.append(str(message))
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = note
        yield said


def how_stopped(*models: Any, said: Sequence[str] = ()) -> str | None:
    """The value of `Attack.stopped_` for an attack that consists of these fitted scikit-learn models.

    Args:
        models: Models with ``n_iter_`` and ``max_iter``.
        said: The warnings that `convergence_noted` collected, including those of temporary models such as folds.

    Returns:
        How the first model that did not converge ended; None if all converged.
    """
    for model in models:
        if np.max(model.n_iter_) >= model.max_iter:
            return f"stopped at its limit of {model.max_iter} iterations"
    return "stopped before it converged" if said else None


def one_thread() -> threadpool_limits:
    """Limits scikit-learn's matrix products to one thread, since rounding depends on the number of threads.

    With it, scores do not depend on the number of cores or on a launcher that limits it. Call it after scikit-learn
    has been imported.
    """
    return threadpool_limits(1, user_api="blas")
