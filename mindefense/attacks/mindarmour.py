"""MindArmour's `MembershipInference` behind this package's interface. The only module that imports mindarmour."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.attacks.base import Attack, check_fitted, how_stopped, one_thread, prior_threshold
from mindefense.errors import InputError
from mindefense.runtime import quiet_mindarmour
from mindefense.targets.base import Target
from mindefense.types import Samples

METHODS: Mapping[str, Mapping[str, Any]] = {
    "lr": {"C": np.logspace(-4, 2, 10).tolist()},
    "knn": {"n_neighbors": [3, 5, 7]},
    "mlp": {"hidden_layer_sizes": [(64,), (32, 32)], "solver": ["adam"], "alpha": [0.0001, 0.001, 0.01]},
    "rf": {
        "n_estimators": [100],
        # The tutorial also has "auto", which meant "sqrt" and which scikit-learn refuses since 1.3.
        "max_features": ["sqrt"],
        "max_depth": [5, 10, 20, None],
        "min_samples_split": [2, 5, 10],
        "min_samples_leaf": [1, 2, 4],
    },
}
"""The grids of MindArmour's tutorial "Using Membership Inference to Test Model Security", by method."""


_FOLDS = 3
"""Folds of MindArmour's searches over its grids."""


class MindArmourAttack(Attack):
    """One of MindArmour's attackers on ``[loss, log-probabilities]``; the true label enters through the loss.

    MindArmour 2.0, ``mindarmour.privacy.evaluation.MembershipInference`` (after Shokri et al., S&P 2017). It gets the
    target's recorded answers, so that all attackers together query each sample once.

    Args:
        method: ``"lr"``, ``"knn"``, ``"mlp"`` or ``"rf"``.
        grid: Parameter grid of the method's search; None for the tutorial's.
        seed: Seeds the shuffling and the random search, for which MindArmour uses NumPy's global generator.
        n_jobs: Processes for the search over the grid, -1 for all cores; for a few hundred rows 1 is faster.

    Attributes:
        threshold_: Share of members among the fit samples; see `prior_threshold`. It equals MindArmour's threshold if
            there are as many members as non-members.
        own_threshold: MindArmour's threshold, which its ``MembershipInference.eval`` uses.
    """

    learns_from = ("auditor",)
    own_threshold = 0.5

    def __init__(
        self, method: str, *, grid: Mapping[str, Sequence[Any]] | None = None, seed: int = 0, n_jobs: int = -1
    ):
        if method not in METHODS:
            raise InputError("method", expected=" or ".join(METHODS), got=repr(method))
        if not 0 <= seed < 2**32:
            raise InputError("seed", expected="a whole number from 0 to 2**32 - 1", got=repr(seed))
        self.name = f"mindarmour-{method}"
        self.method = method
        self.grid = dict(grid if grid is not None else METHODS[method])
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(self, target: Target, members: Samples, non_members: Samples) -> MindArmourAttack:
        """Fits MindArmour's attacker to the target's answers."""
        for name, samples in (("members", members), ("non_members", non_members)):
            if len(samples) < _FOLDS:
                raise InputError(name, expected=f"at least {_FOLDS}, for {_FOLDS}-fold search", got=str(len(samples)))
        inference = _new_inference(self.n_jobs)
        config = [{"method": self.method, "params": self.grid}]
        with _seeded(self.seed), one_thread(), warnings.catch_warnings():
            # Hides scikit-learn's warnings about arguments that MindArmour passes. Convergence is checked below by
            # counting iterations: MindArmour suppresses that warning, and warnings of other processes are lost.
            warnings.simplefilter("ignore")
            inference.train(_answers(target, members), _answers(target, non_members), config)
        self.inference_ = inference
        self.threshold_ = prior_threshold(members, non_members)
        best = inference._attack_list[0].best_estimator_
        if hasattr(best, "n_iter_"):
            self.stopped_ = how_stopped(best)
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The attacker's membership probability; MindArmour's own decision is whether it is above `own_threshold`."""
        check_fitted(self, "inference_")
        features, _ = self.inference_._generate(_answers(target, samples), 1)
        with one_thread():
            return self.inference_._attack_list[0].predict_proba(features)[:, 1].astype(np.float64)


def hop_skip_jump(
    crosses: Callable[[np.ndarray], np.ndarray], row: np.ndarray, *, evaluations: int, iterations: int, seed: int
) -> None:
    """Walks along a decision boundary towards a row, by MindArmour's `HopSkipJumpAttack` (L2, untargeted).

    MindArmour 2.0, after Chen, Jordan & Wainwright, S&P 2020. It starts at uniform noise. It returns nothing: the
    points it visits are the arguments of `crosses`, which may raise to end the walk.

    Args:
        crosses: ``(n, D)`` float64 rows in 0 … 1 → ``(n,)`` bool, whether they are beyond the boundary.
        row: ``(D,)`` in 0 … 1, on this side of the boundary.
        evaluations: Rows for the first estimate of the boundary's direction; the j-th estimate uses √j times as many.
        iterations: Steps along the boundary.
        seed: Seeds the numbers that MindArmour draws from NumPy's global generator.
    """
    with quiet_mindarmour():
        from mindarmour import BlackModel
        from mindarmour.adv_robustness.attacks import HopSkipJumpAttack

    class Sides(BlackModel):
        def predict(self, inputs: np.ndarray) -> np.ndarray:
            # MindArmour passes one row as (1, D) and several as (n, 1, D).
            other = crosses(inputs.reshape(-1, row.size))
            return np.stack((~other, other), axis=1)

    widest = int(evaluations * np.sqrt(iterations)) + 1  # so that MindArmour never splits a batch
    attack = HopSkipJumpAttack(
        Sides(), init_num_evals=evaluations, max_num_evals=widest, num_iterations=iterations, batch_size=widest
    )
    with _seeded(seed):
        attack.generate(row.reshape(1, 1, -1), None)


def _new_inference(n_jobs: int) -> Any:
    """A `MembershipInference` whose model returns its input."""
    with quiet_mindarmour():
        from mindarmour.privacy.evaluation import MembershipInference
    return MembershipInference(ms.train.Model(nn.Identity()), n_jobs=n_jobs)


def _answers(target: Target, samples: Samples) -> Any:
    """The target's answers as a dataset for MindArmour: one batch, in the order of the samples."""
    import mindspore.dataset as ds

    columns = {"data": target.query(samples.features), "label": samples.labels.astype(np.int32)}
    return ds.NumpySlicesDataset(columns, shuffle=False).batch(len(samples))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds NumPy's global generator and restores its state afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
