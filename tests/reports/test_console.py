"""What an evaluation and a comparison look like on a terminal of 80 columns, and what their sentences say."""

import dataclasses
import io
import json
import re

import pytest
from rich.console import Console
from screens import screen

from mindefense.reports.console import (
    attack_table,
    comparison_table,
    conclusions,
    particulars,
    print_comparison,
    print_evaluation,
    print_opening,
    tutorial_lines,
)
from mindefense.reports.report import evaluation_page
from mindefense.reports.results import to_json
from mindefense.types import Check, NotRun

# tests/defenses/test_registry.py sees to it that no name is longer.
LONGEST_ATTACKS = ("modified-entropy-per-class", "averaging-64-perturbed")
LONGEST_DEFENSES = ("memguard-published=0.35", "early-stopping=0.95*", "label-smoothing=0.35*", "defenmi-published")


def rendered(evaluation, width=80):
    return screen(lambda console: console.print(attack_table(evaluation)), width)


def shown(found, show=print_evaluation):
    """The whole output without line ends."""
    return " ".join(screen(lambda console: show(console, found)).split())


def row_of(text, name):
    """The words of the one line that starts with this name, borders left out."""
    (line,) = [line for line in map(words, text.splitlines()) if line[:1] == [name]]
    return line[1:]


def words(line):
    return line.replace("│", " ").split()


def cells(evaluation):
    """The table's body: attacker → what is said of it, three figures a state."""
    text = rendered(evaluation)
    return {name: " ".join(row_of(text, name)) for name in dict.fromkeys(attack.name for attack in evaluation.attacks)}


def named(attacks, names):
    """The same results under other names."""
    return tuple(dataclasses.replace(attack, name=name) for name in names for attack in attacks)


def test_table_fits_80_columns_and_nothing_is_cut(evaluation):
    for name, marked in (("defenmi", False), ("memguard", True)):
        found = dataclasses.replace(
            evaluation, synthetic=marked, smoke=marked, defense=dataclasses.replace(evaluation.defense, name=name)
        )
        text = rendered(found)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert len(cells(found)) == 4  # one line an attacker: no cell was wrapped
        assert name in text
        for head in ("attacker", "learned", "undefended", "unaware of it", "adapts to it"):
            assert head in text
        assert text.count("acc  AUC  TPR") == 3


def test_longest_attack_names_fit(evaluation):
    auditors = [attack for attack in evaluation.attacks if attack.name == "max-confidence"]
    found = dataclasses.replace(evaluation, attacks=named(auditors, LONGEST_ATTACKS))
    text = rendered(found)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "learned" in text
    figures = "target .788 .788 .034 .500 .500 .034 .521 .520 .034"
    assert cells(found) == dict.fromkeys(LONGEST_ATTACKS, figures)


def test_cells_hold_accuracy_auc_and_true_positive_rate_of_their_state(evaluation):
    assert cells(evaluation) == {
        "gap": "– .692 .691 .034 .692 .691 .034 –",
        "max-confidence": "target .788 .788 .034 .500 .500 .034 .521 .520 .034",
        "mindarmour-lr": "target 1.00 .250 .034 .611 .610 .034 .734 .733 .034",
        "nn": "shadow .776 .775 .034 .498 .499 .034 .551 .550 .034",
    }


def test_table_without_a_defense(undefended):
    text = rendered(undefended)
    assert text.count("acc  AUC  TPR") == 1
    assert "unaware" not in text
    assert cells(undefended) == {
        "gap": "– .692 .691 .034",
        "max-confidence": "target .788 .788 .034",
        "mindarmour-lr": "target 1.00 .250 .034",
        "nn": "shadow .776 .775 .034",
    }


def test_attacker_of_both_kinds_of_knowledge_has_a_line_for_each(evaluation):
    nn = [attack for attack in evaluation.attacks if attack.name == "nn"]
    auditor = [dataclasses.replace(attack, knowledge="auditor") for attack in nn[:1]]
    text = rendered(dataclasses.replace(evaluation, attacks=(*nn, *auditor)))
    lines = [line[1:] for line in map(words, text.splitlines()) if line[:1] == ["nn"]]
    assert [line[0] for line in lines] == ["shadow", "target"]
    assert lines[1][1:] == [".776", ".775", ".034", "–", "–"]


def test_attacker_on_the_defended_target_alone_leaves_the_undefended_cell_empty(evaluation):
    only = tuple(attack for attack in evaluation.attacks if attack.defended and attack.name == "mindarmour-lr")
    found = dataclasses.replace(evaluation, attacks=only)
    assert cells(found) == {"mindarmour-lr": "target – .611 .610 .034 .734 .733 .034"}


def test_strongest_attackers_stand_out(evaluation):
    console = Console(width=80, force_terminal=True, color_system="standard", file=io.StringIO())
    console.print(attack_table(evaluation))
    red = re.findall(r"\x1b\[1;31m([^\x1b]*)\x1b", console.file.getvalue())
    assert [text.strip() for text in red if text.strip()] == ["1.00 .250 .034", ".734 .733 .034"]


@pytest.mark.parametrize(("synthetic", "smoke"), [(False, False), (True, False), (False, True), (True, True)])
def test_made_up_and_meaningless_figures_say_so(synthetic, smoke, evaluation):
    title = rendered(dataclasses.replace(evaluation, synthetic=synthetic, smoke=smoke)).splitlines()[0]
    assert "Membership inference on location" in title
    assert ("SYNTHETIC" in title) == synthetic
    assert ("SMOKE" in title) == smoke

    def show(console):
        print_opening(console, dataset="location", synthetic=synthetic, smoke=smoke, device="CPU", seed=7)

    opening = " ".join(screen(show).split())
    assert "location, seed 7, on CPU" in opening
    assert ("synthetic data" in opening) == synthetic
    assert ("smoke test" in opening) == smoke


def test_questions_are_those_of_the_report_in_the_same_words(evaluation):
    results = json.loads(json.dumps(to_json(evaluation)))
    page = evaluation_page(results, "results.json")
    said = conclusions(evaluation)
    assert [re.sub(r"\[/?[a-z ]*\]", "", head) for head, _ in said] == [
        f"{answer.question} {answer.short}".replace("`", "") for answer in page.answers
    ]
    text = shown(evaluation)
    for answer in page.answers:
        for sentence in (*answer.text, *(f"{name}: {text}" for name, text in answer.points)):
            assert sentence.replace("`", "") in text


def test_what_decides_comes_first_and_stays_on_the_screen(evaluation):
    text = shown(evaluation)
    order = [
        "worst part, undefended",
        "Does this model leak who was in its training data? Yes",
        "How many members can be identified almost surely?",
        "17 of the 500 members",
        "How often is the best attacker right? 100.0% of its guesses are right; behind the defense 73.4%.",
        "What did the defense change?",
        "How far can this be trusted? 1 of 3 checks of the measurement failed.",
        "sample-size: There are 500 members. Figures are rough.",
        "What to do next? Judge by more rows.",
        "What does it cost the users of the model?",
    ]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)


def test_answers_are_coloured_by_what_they_mean(evaluation):
    heads = dict(conclusions(evaluation))
    assert any(head.startswith("[bold]Does this model leak") and "[bold yellow]" in head for head in heads)
    worse = dataclasses.replace(evaluation, defended=dataclasses.replace(evaluation.defended, level="leak"))
    assert any(head.startswith("[bold]Does this model leak") and "[bold red]" in head for head, _ in conclusions(worse))


@pytest.mark.parametrize(
    ("name", "says"), [("gap", "gap, which is not fitted"), ("nn", "nn, which learned from a shadow model")]
)
def test_says_what_the_strongest_was_fitted_on(name, says, evaluation):
    strongest = next(attack for attack in evaluation.attacks if attack.name == name)
    verdict = dataclasses.replace(evaluation.undefended, strongest=strongest)
    assert says in shown(dataclasses.replace(evaluation, undefended=verdict))


def line_of(lines, start):
    """The one line that starts so."""
    (line,) = [line for line in lines if line.startswith(start)]
    return line


def test_summary_gives_target_cost_and_budgets(evaluation):
    lines = particulars(evaluation)
    assert line_of(lines, "target:") == (
        "target: 100.0% of its members classified correctly, 61.9% of the non-members; shadow 99.8% / 47.3%; "
        "queries: 2000, behind the defense 2001"
    )
    assert line_of(lines, "cost") == (
        "cost of defenmi (corrected): 3 labels changed, accuracy 80.6%, L1 distance mean 0.334, median 0.312, max "
        "1.239; calibration error 0.103 → 0.227"
    )
    assert "by L1 budget: 1 → 0.501, 0.5 → 0.558, 0 → 0.775" in line_of(lines, "accuracy of the nn attacker")


def test_defense_without_an_alignment_has_no_word_about_one(evaluation):
    defense = dataclasses.replace(evaluation.defense, name="top-3", config={"k": 3})
    assert "cost of top-3: 3 labels changed" in shown(dataclasses.replace(evaluation, defense=defense))


def test_without_a_shadow_nothing_is_said_of_one(evaluation):
    lines, others = particulars(dataclasses.replace(evaluation, shadow_accuracy=None)), particulars(evaluation)
    said = (
        "target: 100.0% of its members classified correctly, 61.9% of the non-members; queries: 2000, behind the "
        "defense 2001"
    )
    assert line_of(lines, "target:") == said
    assert [line for line in lines if line not in others] == [said]


def test_without_budgets_there_is_no_line_of_them(evaluation):
    lines = particulars(dataclasses.replace(evaluation, budgets=()))
    assert not [line for line in lines if "budget" in line]
    assert len(lines) == len(particulars(evaluation)) - 1


def test_worst_part_is_told_of_the_states_that_have_one(evaluation):
    assert [line for line in particulars(evaluation) if line.startswith("worst part")] == [
        "worst part, undefended: classified incorrectly, AUC 0.912 (0.830–0.960, 95% for 3 parts together) by "
        "max-confidence"
    ]
    swapped = tuple(dataclasses.replace(slices, defended=not slices.defended) for slices in evaluation.slices)
    assert "worst part, defended:" in shown(dataclasses.replace(evaluation, slices=swapped))


def test_canaries_are_told_by_whoever_tells_them_best(evaluation):
    assert "canaries" not in shown(evaluation)
    right = {attack.name: attack for attack in evaluation.attacks if not attack.defended}
    behind = next(attack for attack in evaluation.attacks if attack.name == "nn" and attack.adversary == "adaptive")
    for canaries, says in (
        ((right["gap"], right["nn"], behind), "the highest two-sided AUC is 0.775, by nn (static, undefended)"),
        ((behind,), "the highest two-sided AUC is 0.550, by nn (adaptive, defended)"),
    ):
        line = line_of(particulars(dataclasses.replace(evaluation, canaries=canaries)), "canaries")
        assert line == f"canaries, 500 members and 501 non-members with wrong labels: {says}"


def test_who_was_left_out_is_told_once_a_reason(evaluation):
    flips = "the features are all 0 or 1; use label-flips"
    assert [line for line in particulars(evaluation) if line.startswith("not run")] == [
        f"not run: label-noise (auditor), label-noise (shadow): {flips}",
        "not run: label-shifts (auditor): the samples are not images, so there is nothing to shift",
    ]
    assert "not run" not in shown(dataclasses.replace(evaluation, not_run=()))


@pytest.mark.parametrize(("count", "says"), [(4, "a0 (x), a1 (x), a2 (x), a3 (x): why"), (7, "a3 (x) and 3 more: why")])
def test_few_of_many_left_out_are_named(count, says, evaluation):
    not_run = tuple(NotRun(f"a{k}", "x", "why") for k in range(count))
    (line,) = [line for line in particulars(dataclasses.replace(evaluation, not_run=not_run)) if "not run" in line]
    assert line.startswith("not run: a0 (x), a1 (x), ")
    assert line.endswith(says)


@pytest.mark.parametrize("parity", [None, False, True])
def test_opening_says_how_images_of_members_are_treated(parity):
    def show(console):
        print_opening(console, dataset="cifar100", synthetic=False, smoke=False, device="CPU", seed=7, parity=parity)

    text = " ".join(screen(show).split())
    for says, when in (
        ("members and non-members are treated alike; MindArmour's tutorial crops and flips only members", False),
        ("which alone distinguishes them from non-members (--parity does the same)", False),
        ("parity: as in MindArmour's tutorial, only members are cropped and flipped at random", True),
        ("the figures are higher than the leak", True),
    ):
        assert (says in text) == (parity is when)


@pytest.mark.parametrize("is_assumed", [False, True])
def test_opening_says_which_rows_are_members(is_assumed):
    def show(console):
        roles = ("members: [rows] of one", "non-members: rows of another")
        print_opening(console, dataset="c", synthetic=False, smoke=False, device="CPU", seed=7, roles=roles,
                      is_assumed=is_assumed)  # fmt: skip

    text = " ".join(screen(show).split())
    assert "members: [rows] of one non-members: rows of another" in text
    assert ("all images of the training part are taken for members" in text) == is_assumed


def test_tutorial_lines_are_those_of_the_undefended_target(evaluation):
    def methods(names):
        chosen = next(attack for attack in evaluation.attacks if attack.name == "mindarmour-lr")
        metrics = dataclasses.replace(chosen.metrics, recall=0.88104, precision=0.65956, accuracy=0.71315)
        return tuple(dataclasses.replace(chosen, name=f"mindarmour-{name}", metrics=metrics) for name in names)

    others = tuple(attack for attack in evaluation.attacks if attack.name != "mindarmour-lr" or attack.defended)
    attacks = others[:5] + methods(["lr", "knn"]) + others[5:] + methods(["mlp", "rf"])
    assert tutorial_lines(dataclasses.replace(evaluation, attacks=attacks)) == [
        f"Method: {name}, {{'recall': 0.8810, 'precision': 0.6596, 'accuracy': 0.7131}}"
        for name in ("lr", "knn", "mlp", "rf")
    ]


def test_tutorial_lines_are_at_mindarmours_own_cut(evaluation):
    (lr,) = [attack for attack in evaluation.attacks if attack.name == "mindarmour-lr" and not attack.defended]
    own = dataclasses.replace(lr.metrics, recall=1.0, precision=0.8333, accuracy=0.8333, balanced_accuracy=0.5)
    attacks = (dataclasses.replace(lr, own=own),)
    assert tutorial_lines(dataclasses.replace(evaluation, attacks=attacks)) == [
        "Method: lr, {'recall': 1.0000, 'precision': 0.8333, 'accuracy': 0.8333}"
    ]


def test_undefined_figure_of_the_tutorial_is_none(evaluation):
    (lr,) = [attack for attack in evaluation.attacks if attack.name == "mindarmour-lr" and not attack.defended]
    nobody = dataclasses.replace(lr, metrics=dataclasses.replace(lr.metrics, precision=None, recall=0.0, accuracy=0.5))
    assert tutorial_lines(dataclasses.replace(evaluation, attacks=(nobody,))) == [
        "Method: lr, {'recall': 0.0000, 'precision': None, 'accuracy': 0.5000}"
    ]


def test_summary_without_a_defense(undefended):
    text = shown(undefended)
    assert "What did a defense change? There was no defense." in text
    for word in ("behind", "cost of", "budget"):
        assert word not in text


@pytest.mark.parametrize("name", ["red[bold]car.npz", "[/x]"])
def test_what_users_named_and_checks_found_is_shown_as_it_is(name, evaluation, comparison):
    check = Check("overlap", False, f"Rows of {name}.", "Bad.", "Do better.")
    found = dataclasses.replace(evaluation, dataset=name, checks=(check,))
    assert shown(found).count(name) == 2
    assert name in shown(dataclasses.replace(comparison, dataset=name), print_comparison)


# ----------------------------------------------------------------------------------------------------------- comparison


def compared(comparison, width=80):
    return screen(lambda console: console.print(comparison_table(comparison)), width)


def test_comparison_has_one_line_a_contender_with_leak_and_cost(comparison):
    text = compared(comparison, 120)
    assert "Ways to defend on location" in text
    assert row_of(text, "none") == ["mindarmour-lr", "1.00", ".940–1.06", ".750", ".000", ".103", "1.50", ".811"]
    figures = [".734", ".674–.795", ".733", ".334", ".227", "0.90", ".806"]
    assert row_of(text, "defenmi-published") == ["mindarmour-lr", *figures]
    assert row_of(text, "label-smoothing=0.3*") == ["nn", ".551", ".491–.612", ".733", ".456", ".150", "0.80", ".790"]


def test_figures_above_1_are_rounded_and_not_cut(comparison):
    assert "1.24" in row_of(compared(comparison, 120), "top-k=3")


def test_comparison_fits_80_columns_and_names_the_strongest(comparison):
    cut = zip(comparison.contenders, LONGEST_DEFENSES, strict=True)
    contenders = tuple(dataclasses.replace(contender, name=name.strip("*")) for contender, name in cut)
    marked = dataclasses.replace(comparison, contenders=contenders, synthetic=True, smoke=True)
    text = compared(marked)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in ("SYNTHETIC", "SMOKE", "strongest", "mindarmour-lr", "max-confidence", *(c.name for c in contenders)):
        assert word in text


def test_dominated_contenders_are_dim(comparison):
    console = Console(width=120, force_terminal=True, color_system="standard", file=io.StringIO())
    console.print(comparison_table(comparison))
    dim = [line for line in console.file.getvalue().splitlines() if "\x1b[2m" in line]
    assert [name for name in ("none", "defenmi-published", "top-k=3", "label-smoothing") if name in "".join(dim)] == [
        "top-k=3"
    ]


def test_other_trainings_are_explained_where_there_are_any(comparison):
    assert "* trained differently" in shown(comparison, print_comparison)
    reshaping = tuple(contender for contender in comparison.contenders if not contender.in_training)
    text = shown(dataclasses.replace(comparison, contenders=reshaping), print_comparison)
    assert "trained differently" not in text


def test_doubts_of_a_comparison_name_whom_they_are_about(comparison):
    text = shown(comparison, print_comparison)
    assert "not run: dp=1 (training): " in text
    assert "VGG16 has batch normalization" in text
    assert "failed check sample-size: all;" in text
    assert "failed check smoke: top-k=3, label-smoothing=0.3;" in text
    assert "overlap" not in text
