"""Banks of shadow models of a model of your own, in any framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mindefense.data import Split
from mindefense.errors import InputError
from mindefense.evaluation.scenario import EvaluationSets
from mindefense.progress import Progress, progress_of
from mindefense.targets.bank import LEARNED_FROM, ShadowBank, bank_rows, trained_on
from mindefense.targets.base import clean_target
from mindefense.targets.kinds import model_of
from mindefense.types import LabelledData

Train = Callable[[np.ndarray, np.ndarray, int], Any]
"""Features ``(n, ...)``, labels ``(n,)`` and a seed → a trained model, of the kinds that `evaluate` takes."""
_NUMBER_OF_SEEDS = 2**31


def train_shadows(
    train: Train,
    data: LabelledData,
    split: Split,
    *,
    count: int = 8,
    offline: bool = False,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> ShadowBank:
    """Trains a bank of shadow models, which `evaluate` takes as ``shadows``.

    Each model should be trained exactly as the target was. Attackers find the less, the more the trainings differ.

    Args:
        train: Function from features ``(n, ...)``, labels ``(n,)`` and a seed to a trained model, for example a Cell, a
            PyTorch module or a scikit-learn classifier. It is called once for each model and must build a new one.
        data: The data set.
        split: Its rows' roles, as given to `evaluate`.
        count: Number of models, at least 4. 8 find most of what 32 find.
        offline: False to train each model on half of the evaluated rows, for an attacker that holds these rows; True to
            train on none of them, for an attacker that has similar rows.
        seed: Seed of the choice of rows; the models' seeds are drawn from it too.
        progress: True for a progress bar, False for none, None for a bar on a terminal and in a notebook.

    Returns:
        The bank, with the models in memory.

    Raises:
        InputError: If there are too few models or rows, or `train` does not return a trained model.
    """
    if not isinstance(count, int) or count < 4:
        raise InputError("count", expected="at least 4 models", got=repr(count))
    judged = EvaluationSets.of(data, split, seed=seed, fit_share=0.5).everyone.indices()
    rows = bank_rows(len(data), judged, split.target_members, offline=offline, seed=seed)
    chosen = rows.of_models(count, seed=seed)
    seeds = np.random.default_rng((seed, offline)).integers(_NUMBER_OF_SEEDS, size=count).tolist()
    returned: list[Any] = []
    models, title = [], f"train {count} shadow models"
    with progress_of(progress).stage(title, count) as advance:
        for number, (indices, model_seed) in enumerate(zip(chosen, seeds, strict=True)):
            samples = data.take(indices)
            trained = train(samples.features, samples.labels, model_seed)
            if any(trained is one for one in returned):
                fix = "build a new model in each call of train"
                raise InputError(
                    f"shadow {number}", expected="a new model", got="one that train returned before", fix=fix
                )
            returned.append(trained)
            models.append(model_of(trained, name=f"shadow {number}"))
            advance(1, "")
    return ShadowBank(
        [clean_target(model) for model in models],
        trained_on(chosen, of=len(data)),
        models=models,
        pool=data.take(rows.pool[:LEARNED_FROM] if offline else rows.pool),
        population=data.take(rows.population) if len(rows.population) else None,
        is_offline=offline,
    )
