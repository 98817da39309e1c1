"""No all-clear from rows that are wrong: labels of other rows, defended answers of other rows, twins on both sides."""

import numpy as np
import pytest

from mindefense.data import load_outputs
from mindefense.evaluation import evaluate_outputs
from mindefense.reports.findings import answer_evaluation, states_of
from mindefense.reports.results import to_json

ROWS, CLASSES = 2000, 6


def arrays(*, leak=0.0, seed=0):
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(CLASSES, size=ROWS), np.arange(ROWS) % 2 == 0
    logits = rng.normal(0, 1, (ROWS, CLASSES))
    logits[np.arange(ROWS), labels] += 6 + leak * is_member
    return {"logits": logits.astype(np.float32), "labels": labels, "is_member": is_member}, rng


def evaluated(folder, held, attacks=("confidence", "shokri-label")):
    np.savez(folder / "answers.npz", **held)
    return evaluate_outputs(load_outputs(folder / "answers.npz"), attacks=attacks)


def first_answer(found):
    results = to_json(found)
    answer = answer_evaluation(results, states_of(results))[0]
    return answer.short, " ".join(answer.text)


def test_right_rows_are_cleared(tmp_path):
    found = evaluated(tmp_path, arrays()[0])
    assert (found.undefended.level, found.undefended.untold_by) == ("none found", None)
    assert first_answer(found)[0] == "These attackers found no leak."


def test_one_member_in_a_hundred_memorised_is_a_leak(tmp_path):
    held, _ = arrays()
    members = np.flatnonzero(held["is_member"])
    held["logits"][members[:10], held["labels"][members[:10]]] += 14
    found = evaluated(tmp_path, held)
    verdict = found.undefended
    assert (verdict.level, verdict.shown_by) == ("leak", None)  # on average, nothing is to be seen of them
    assert verdict.identified.n_members == ROWS // 2  # all of them, for scores that are fitted to none
    assert verdict.identified.identified >= 10
    assert verdict.identified.mistakes <= 1
    results = to_json(found)
    text = answer_evaluation(results, states_of(results))[1].text[0]
    assert "of the 1,000 members it was evaluated on" in text
    assert (
        "It was evaluated on all rows, since its scores are not fitted; its row in the table is for the 500 members"
        in text
    )


def test_labels_of_other_rows_clear_nobody(tmp_path):
    held, rng = arrays()
    held["labels"] = rng.permutation(held["labels"])
    found = evaluated(tmp_path, held)
    assert (found.undefended.level, found.undefended.untold_by) == ("cannot be told", "labels-match")
    short, text = first_answer(found)
    assert short == "This cannot be told from these rows."
    assert "the check labels-match failed" in text


def test_defended_answers_of_other_rows_clear_nobody(tmp_path):
    held, rng = arrays(leak=8.0)
    held["defended_logits"] = rng.permutation(held["logits"])
    found = evaluated(tmp_path, held)
    assert found.undefended.level == "leak"  # which was found, whatever is wrong
    assert (found.defended.level, found.defended.untold_by) == ("cannot be told", "labels-match")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_twins_on_both_sides_clear_nobody(share, tmp_path):
    held, rng = arrays(leak=0.05)
    copies = rng.permutation(np.flatnonzero(held["is_member"]))[: int(share * ROWS / 2)]
    others = rng.permutation(np.flatnonzero(~held["is_member"]))[: len(copies)]
    for name in ("logits", "labels"):
        held[name][others] = held[name][copies]
    found = evaluated(tmp_path, held)
    if share:
        assert (found.undefended.level, found.undefended.untold_by) == ("cannot be told", "duplicates")
    else:
        assert found.undefended.untold_by is None


def test_attackers_that_were_left_out_stand_in_the_first_answer(tmp_path):
    found = evaluated(tmp_path, arrays()[0], attacks=("max-confidence", "salem-top3"))
    assert "Attackers that could have taken part and were not chosen" in first_answer(found)[1]
    everyone = evaluated(tmp_path, arrays()[0])
    assert "not chosen" not in first_answer(everyone)[1]
