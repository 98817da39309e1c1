"""The contract of every attack."""

from __future__ import annotations

import abc
import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from mindefense.checks import check_scores
from mindefense.errors import InputError
from mindefense.metrics import best_threshold
from mindefense.targets.base import Target
from mindefense.types import Samples


class Attack(abc.ABC):
    """Learns from samples whose membership the attacker knows, then scores others.

    On which target and which samples `fit` is called makes the threat model: an auditor fits on known members of the
    target itself, a shadow attacker on a model of its own, an adaptive one on either behind the same defense. How an
    attack takes part in an evaluation is what it says of itself in the attributes below, on its class or on the object.

    Attributes:
        name: What to call it in results.
        needs_fit: Whether `fit` learns anything. One that does not is judged by all rows, once, and is never fitted.
        learns_from: ``"auditor"``, ``"shadow"`` or both: what it may be fitted on. ``"online"`` and ``"offline"`` for
            attacks with a bank of shadow models; see `mindefense.attacks.bank.BankAttack`.
        fits_scores: Whether scores depend on the samples it was fitted on, so that it cannot be judged by them. False
            where `fit` finds nothing but `threshold_`: its ranking may then be judged by every sample.
        asks: ``"samples"`` if it asks the target about the samples alone, ``"variants"`` if about changed ones too,
            which recorded outputs cannot answer.
        needs_labels: Whether it looks at the true classes, which recorded outputs may lack.
        needs_randomness: Whether it only has a point where answers depend on noise.
        max_samples: It is fitted on and judged by at most so many of either kind; None for all.
        threshold_: After `fit`: a sample is called a member if its score is above.
        stopped_: After `fit`, where that iterates until it converges: how it ended before it did, for a sentence about
            the attack, such as ``"stopped at its limit of 300 iterations"``; None if it converged.
        own_threshold: The cut of the attack's authors, where `threshold_` may be another; None where there is no other.
    """

    name: ClassVar[str] | str
    needs_fit: ClassVar[bool] | bool = True
    fits_scores: ClassVar[bool] | bool = True
    learns_from: ClassVar[tuple[str, ...]] | tuple[str, ...] = ("auditor", "shadow")
    asks: ClassVar[str] | str = "samples"
    needs_labels: ClassVar[bool] | bool = True
    needs_randomness: ClassVar[bool] | bool = False
    max_samples: ClassVar[int | None] | int | None = None
    threshold_: float
    stopped_: str | None
    own_threshold: ClassVar[float | None] = None

    def unsupported(self, samples: Samples) -> str | None:
        """Why it cannot attack such samples, in words for the user; None if it can."""
        return None

    @abc.abstractmethod
    def fit(self, target: Target, members: Samples, non_members: Samples) -> Attack:
        """Learns from `target`'s answers on samples it was and was not trained on; returns self."""

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
    """What an attack says of samples; ``(N,)`` float64.

    Raises:
        InputError: If that is not one number a sample; calls the attack `name`.
    """
    what = f"scores of attack {name}"
    scores = check_scores(attack.score(target, samples), name=what)
    if len(scores) != len(samples):
        raise InputError(what, expected=f"one for each of {len(samples)} samples", got=str(len(scores)))
    return scores


def prior_threshold(members: Samples, non_members: Samples) -> float:
    """The cut of a membership probability that was fitted on these samples: the share of members among them.

    By Bayes' rule a posterior above the prior is a likelihood ratio above 1, where balanced accuracy is highest,
    whatever the numbers of members and non-members; with as many of either it is 0.5. The prior is taken rather than
    the best cut on the scores of the fit samples, which a classifier may know by heart.

    Returns:
        A share, 0 … 1.

    Source:
        Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, theorem 2.
    """
    return len(members) / (len(members) + len(non_members))


def check_fitted(attack: Attack, learned: str) -> None:
    """Raises InputError if `attack` has no attribute `learned` yet, which `fit` sets."""
    if not hasattr(attack, learned):
        raise InputError(f"attack {attack.name}", expected="a fitted attack", got="none", fix="call fit first")


@contextlib.contextmanager
def convergence_noted() -> Iterator[list[str]]:
    """Collects what scikit-learn says of fits that did not converge, in place of a warning; others are shown as ever.

    Fits in other processes, and those whose caller silences the warning, are not heard; see `how_stopped`.
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
    """What `Attack.stopped_` is for an attack that consists of these models of scikit-learn's, all fitted.

    Args:
        models: With ``n_iter_`` and ``max_iter``.
        said: From `convergence_noted`: warnings of fits that do not last, such as those of folds, count too.

    Returns:
        How the first of them that did not converge ended; None if all did.
    """
    for model in models:
        if np.max(model.n_iter_) >= model.max_iter:
            return f"stopped at its limit of {model.max_iter} iterations"
    return "stopped before it converged" if said else None


def one_thread() -> threadpool_limits:
    """Keeps scikit-learn's matrix products to one thread: with another number, sums are rounded elsewhere.

    So scores do not depend on the machine's cores, nor on a launcher that gives each of its processes one. For use
    after scikit-learn has been imported.
    """
    return threadpool_limits(1, user_api="blas")
