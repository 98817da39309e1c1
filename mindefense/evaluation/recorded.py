"""An evaluation of recorded outputs: for models of other frameworks, of which only answers are there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.catalog import Terms, chosen
from mindefense.data.outputs import RecordedOutputs
from mindefense.errors import InputError
from mindefense.evaluation.arena import Arena
from mindefense.evaluation.conclusion import assemble, target_facts, utility
from mindefense.evaluation.doubts import doubts
from mindefense.evaluation.evidence import evidence_of
from mindefense.evaluation.facts import Facts, FitRows
from mindefense.evaluation.progress import Progress
from mindefense.evaluation.protocol import ADVERSARIES, Doors, Rows
from mindefense.runtime import versions
from mindefense.targets.base import Target
from mindefense.types import Answers, DefenseFacts, Evaluation, Samples


def evaluate_outputs(
    outputs: RecordedOutputs,
    *,
    attacks: Sequence[str] | None = None,
    adversary: Sequence[str] = ADVERSARIES,
    seed: int = 0,
    fit_share: float = 0.5,
    progress: Progress | None = None,
    timed: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda stage: contextlib.nullcontext(),
) -> Evaluation:
    """Runs every attacker that needs no queries on recorded outputs; lists the others as not run.

    Where the outputs hold no labels, attackers that look at true classes are not run either, and what takes true
    classes, such as accuracies and parts by class, is left out or None.

    Args:
        outputs: From `mindefense.data.load_outputs`.
        attacks: Names of the attackers; None for all.
        adversary: Whether attackers know of the defense, where defended outputs are there.
        seed: Divides the rows where the outputs do not, and seeds the attackers.
        fit_share: Share of the rows to fit on, where the outputs do not say.
        progress: Told what happens.
        timed: Measures a named stage.

    Returns:
        The evaluation; without shadow, queries beyond the recorded rows, or test accuracy.

    Raises:
        InputError: If there are too few rows of a kind to fit and to judge by.
    """
    everyone = _rows(outputs, np.ones(len(outputs), bool))
    if outputs.split is None:
        fit_rows, eval_rows = everyone.divide(seed, share=fit_share)
    else:
        fit_rows, eval_rows = _rows(outputs, outputs.split), _rows(outputs, ~outputs.split)
    for what, rows in (("fit", fit_rows), ("eval", eval_rows)):
        for kind in ("members", "non_members"):
            if len(getattr(rows, kind)) < 3:
                raise InputError(
                    f"{kind.replace('_', '-')} of the {what} part in {outputs.name}",
                    expected="at least 3",
                    got=str(len(getattr(rows, kind))),
                    fix="record more rows",
                )
    clean = Doors(Target(lambda rows: outputs.log_probs[rows]), answers_variants=False)
    arena = Arena(
        chosen(attacks),
        Terms(seed=seed, network_seed=seed + 3),
        clean=clean,
        fit_rows=fit_rows,
        eval_rows=eval_rows,
        everyone=everyone,
        labelled=outputs.labels is not None,
        adversary=adversary,
        progress=progress,
        timed=timed,
    )
    arena.check_somebody()
    trials = arena.undefended()
    defended_log_probs = outputs.defended_log_probs
    answers = Answers(
        labels=None if outputs.labels is None else everyone.labels(),
        is_member=everyone.is_member(),
        indices=outputs.indices[everyone.features()],
        clean_probs=np.exp(outputs.log_probs[everyone.features()]),
        defended_probs=None if defended_log_probs is None else np.exp(defended_log_probs[everyone.features()]),
    )
    defense = None
    if defended_log_probs is not None:
        doors = Doors(Target(lambda rows: defended_log_probs[rows]), answers_variants=False)
        trials += arena.behind(doors)
        undefended, defended = utility(answers)
        defense = DefenseFacts("recorded", {}, "unknown", None, None, undefended, defended, doors.target.queries)
    return assemble(
        trials,
        answers,
        dataset=outputs.name,
        synthetic=False,
        smoke=False,
        seed=seed,
        settings={
            "outputs": outputs.name,
            "given": outputs.given,
            "note": outputs.note,
            "split": "random" if outputs.split is None else "as recorded",
            "attacks": None if attacks is None else list(attacks),
            "adversary": list(adversary),
        },
        versions=versions(),
        target=target_facts(answers, test_accuracy=None, queries=clean.target.queries),
        shadow_accuracy=None,
        defense=defense,
        not_run=arena.left_out(noised=False),
        evidence=evidence_of(answers, digests={"outputs": outputs.sha256}),
        budgets=(),
        checks=doubts(
            Facts(
                trials=trials,
                answers=answers,
                fitted_on={"auditor": _fitted_on(outputs, fit_rows)},
                trainings=arena.trainings,
                not_asked=arena.not_asked(noised=False),
            )
        ),
    )


def _rows(outputs: RecordedOutputs, wanted: np.ndarray) -> Rows:
    """Samples that are nothing but the numbers of their rows in the recording."""
    # Without labels all are of one class for whoever divides them; no attacker sees it.
    labels = np.zeros(len(outputs), np.int32) if outputs.labels is None else outputs.labels

    def samples(is_wanted: np.ndarray) -> Samples:
        rows = np.flatnonzero(is_wanted)
        return Samples(rows, labels[rows], rows)

    return Rows(samples(wanted & outputs.is_member), samples(wanted & ~outputs.is_member))


def _fitted_on(outputs: RecordedOutputs, rows: Rows) -> FitRows:
    numbers = rows.features()
    return FitRows(indices=outputs.indices[numbers], probs=np.exp(outputs.log_probs[numbers]))
