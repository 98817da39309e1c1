"""What an evaluation looks like on a terminal of 80 columns, and what its sentences say."""

import contextlib
import dataclasses
import io
import re

import pytest
from rich.console import Console

from mindefense.reports.console import (
    ConsoleProgress,
    attack_table,
    print_evaluation,
    print_opening,
    summary,
    tutorial_lines,
)


def screen(show, width=80, **options):
    """What `show` prints on a console of this width."""
    console = Console(width=width, record=True, file=io.StringIO(), **options)
    show(console)
    return console.export_text()


def rendered(evaluation):
    return screen(lambda console: console.print(attack_table(evaluation)))


def cells(evaluation):
    """The table's body: attacker → cells."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in rendered(evaluation).splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 2}


def flat(evaluation):
    """The whole output without line ends."""
    return " ".join(screen(lambda console: print_evaluation(console, evaluation)).split())


def test_table_fits_80_columns_and_nothing_is_cut(evaluation):
    for long in (False, True):
        name = "memguard" if long else "defenmi"
        marked = dataclasses.replace(
            evaluation, synthetic=long, smoke=long, defense=dataclasses.replace(evaluation.defense, name=name)
        )
        text = rendered(marked)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        body = [line for line in text.splitlines() if line.startswith("│")]
        assert len(body) == 4  # one line an attacker: no cell was wrapped
        for attack in marked.attacks:
            assert sum(attack.name in line for line in body) == 1
        assert f"{name}," in text
        for head in ("attacker", "undefended", "unaware of it", "adapts to it"):
            assert head in text
        assert text.count("acc  AUC  TPR") == 3


def test_longest_attack_names_fit(evaluation):
    from mindefense.attacks import METHODS

    names = ["max-confidence", *(f"mindarmour-{method}" for method in METHODS)]
    attacks = tuple(dataclasses.replace(attack, name=name) for name in names for attack in evaluation.attacks[2:5])
    text = rendered(dataclasses.replace(evaluation, attacks=attacks))
    body = [line for line in text.splitlines() if line.startswith("│")]
    assert len(body) == len(names)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_cells_hold_accuracy_auc_and_true_positive_rate_of_their_state(evaluation):
    assert cells(evaluation) == {
        "gap": ["–", ".691 .691 .034", ".691 .691 .034", "–"],
        "max-confidence": ["target", ".787 .788 .034", ".500 .500 .034", ".520 .520 .034"],
        "mindarmour-lr": ["target", "1.00 .250 .034", ".610 .610 .034", ".733 .733 .034"],
        "nn": ["shadow", ".775 .775 .034", ".499 .499 .034", ".550 .550 .034"],
    }


def test_table_without_a_defense(undefended):
    text = rendered(undefended)
    assert text.count("acc  AUC  TPR") == 1
    assert "unaware" not in text
    assert cells(undefended) == {
        "gap": ["–", ".691 .691 .034"],
        "max-confidence": ["target", ".787 .788 .034"],
        "mindarmour-lr": ["target", "1.00 .250 .034"],
        "nn": ["shadow", ".775 .775 .034"],
    }


def test_strongest_attackers_stand_out(evaluation):
    console = Console(width=80, force_terminal=True, color_system="standard", file=io.StringIO())
    console.print(attack_table(evaluation))
    red = re.findall(r"\x1b\[1;31m([^\x1b]*)\x1b", console.file.getvalue())
    assert [text.strip() for text in red if text.strip()] == ["1.00 .250 .034", ".733 .733 .034"]


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


def test_summary_names_the_strongest_and_the_gap_in_both_states(evaluation):
    text = flat(evaluation)
    assert (
        "undefended: leaks; strongest attacker mindarmour-lr (static, fitted on the target) with balanced accuracy "
        "1.000; the gap attack, which no defense that keeps the labels can lower, has 0.692"
    ) in text
    assert (
        "defended: no attacker has accuracy, precision and recall all above 0.6; strongest attacker mindarmour-lr "
        "(adaptive, fitted on the "
        "target) with balanced accuracy 0.734; the gap attack"
    ) in text


@pytest.mark.parametrize(
    ("attack", "says"), [(0, "gap (static, fitted on nothing)"), (8, "nn (static, fitted on a shadow)")]
)
def test_summary_says_what_the_strongest_was_fitted_on(attack, says, evaluation):
    verdict = dataclasses.replace(evaluation.undefended, strongest=evaluation.attacks[attack])
    assert says in flat(dataclasses.replace(evaluation, undefended=verdict))


def test_summary_gives_target_cost_and_budgets(evaluation):
    lines = summary(evaluation)
    assert lines[0] == (
        "target: 100.0% of its members classified rightly, 61.9% of the non-members; shadow 99.8% / 47.2%"
    )
    cost = next(line for line in lines if line.startswith("cost"))
    assert cost == (
        "cost of defenmi (corrected): 3 labels changed, accuracy 80.5%, L1 distance mean 0.334, median 0.312, max "
        "1.239; calibration error 0.103 → 0.227"
    )
    assert any("by L1 budget: 1 → 0.501, 0.5 → 0.558, 0 → 0.775" in line for line in lines)


def test_without_a_shadow_nothing_is_said_of_one(evaluation):
    lines = summary(dataclasses.replace(evaluation, shadow_accuracy=None))
    assert lines[0] == "target: 100.0% of its members classified rightly, 61.9% of the non-members"
    assert lines[1:] == summary(evaluation)[1:]


def test_without_budgets_there_is_no_line_of_them(evaluation):
    lines = summary(dataclasses.replace(evaluation, budgets=()))
    assert not [line for line in lines if "budget" in line]
    assert len(lines) == len(summary(evaluation)) - 1


@pytest.mark.parametrize("parity", [None, False, True])
def test_opening_says_how_images_of_members_are_treated(parity):
    def show(console):
        print_opening(console, dataset="cifar100", synthetic=False, smoke=False, device="CPU", seed=7, parity=parity)

    text = " ".join(screen(show).split())
    for says, when in (
        ("members and non-members are treated alike; MindArmour's tutorial crops and flips members only", False),
        ("by itself tells them apart (--parity does as it does)", False),
        ("parity: as in MindArmour's tutorial, members alone are cropped and flipped at random", True),
        ("the figures say more than the model leaks", True),
    ):
        assert (says in text) == (parity is when)


def test_tutorial_lines_are_those_of_the_undefended_target(evaluation):
    def methods(names):
        chosen = next(attack for attack in evaluation.attacks if attack.name == "mindarmour-lr")
        metrics = dataclasses.replace(chosen.metrics, recall=0.88104, precision=0.65956, accuracy=0.71315)
        return tuple(dataclasses.replace(chosen, name=f"mindarmour-{name}", metrics=metrics) for name in names)

    attacks = evaluation.attacks[:5] + methods(["lr", "knn"]) + evaluation.attacks[6:] + methods(["mlp", "rf"])
    assert tutorial_lines(dataclasses.replace(evaluation, attacks=attacks)) == [
        f"Method: {name}, {{'recall': 0.8810, 'precision': 0.6596, 'accuracy': 0.7131}}"
        for name in ("lr", "knn", "mlp", "rf")
    ]


def test_undefined_figure_of_the_tutorial_is_none(evaluation):
    (lr,) = [attack for attack in evaluation.attacks if attack.name == "mindarmour-lr" and not attack.defended]
    nobody = dataclasses.replace(lr, metrics=dataclasses.replace(lr.metrics, precision=None, recall=0.0, accuracy=0.5))
    assert tutorial_lines(dataclasses.replace(evaluation, attacks=(nobody,))) == [
        "Method: lr, {'recall': 0.0000, 'precision': None, 'accuracy': 0.5000}"
    ]


def test_notes_are_told_once(evaluation):
    assert sum(line.startswith("note: too few non-members") for line in summary(evaluation)) == 1


def test_one_way_attackers_are_called_out(evaluation):
    (warning,) = [line for line in summary(evaluation) if line.startswith("beware")]
    # max-confidence calls nobody, nn (static .999, adaptive .951) all; lr at .949 is just not worth a warning, and
    # what it does on undefended outputs (.97) is not the defense's doing.
    assert warning.startswith(
        "beware: on defended outputs these answer nearly one way: max-confidence (static), nn (static), nn (adaptive);"
    )


def test_nobody_is_called_out_without_cause(evaluation):
    attacks = tuple(
        dataclasses.replace(attack, metrics=dataclasses.replace(attack.metrics, share_called_member=0.5))
        for attack in evaluation.attacks
    )
    assert "beware" not in flat(dataclasses.replace(evaluation, attacks=attacks))


def test_summary_without_a_defense(undefended):
    text = flat(undefended)
    assert "strongest attacker mindarmour-lr (static" in text
    assert " defended:" not in text
    for word in ("cost", "budget", "beware"):
        assert word not in text


def test_progress_elsewhere_than_on_a_terminal_is_one_line_a_stage():
    def work(console):
        with ConsoleProgress(console).stage("train target", 3) as advance:
            for number in range(3):
                advance(1, f"loss {number}")

    text = screen(work, force_terminal=False)
    assert re.fullmatch(r"train target: loss 2 \(\d+\.\d s\)\n", text)


def test_progress_on_a_terminal_shows_bars_and_survives_an_error():
    def work(console):
        with contextlib.suppress(KeyError), ConsoleProgress(console).stage("train target", 3) as advance:
            advance(2, "loss 0.5")
            raise KeyError

    text = screen(work, force_terminal=True)
    assert "train target" in text
    assert "2/3" in text


def lines_of(news, total, **options):
    """What is seen of a stage of which `news` tells: (second, units done, note)."""
    now = [100.0]

    def work(console):
        with ConsoleProgress(console, clock=lambda: now[0]).stage("train target", total) as advance:
            for second, done, note in news:
                now[0] = 100.0 + second
                advance(done, note)

    return screen(work, force_terminal=False, **options).splitlines()


def test_long_stage_elsewhere_says_how_far_it_is_once_a_minute():
    news = [(20.0 * number, 1, f"loss {number}") for number in range(1, 11)]
    assert lines_of(news, 10) == [
        "train target: 3/10, loss 3; 0:02:20 left",
        "train target: 6/10, loss 6; 0:01:20 left",
        "train target: 9/10, loss 9; 0:00:20 left",
        "train target: loss 10 (200.0 s)",
    ]


def test_slow_units_are_told_one_by_one():
    # The first one holds the compiling: nothing can be said of the others yet.
    news = [(400.0, 1, "a"), (700.0, 1, "b"), (1000.0, 1, "c"), (1300.0, 1, "d")]
    assert lines_of(news, 40)[:3] == [
        "train target: 1/40, a",
        "train target: 2/40, b; 3:10:00 left",
        "train target: 3/40, c; 3:05:00 left",
    ]


def test_time_left_of_a_resumed_training_counts_no_epoch_of_an_earlier_run():
    assert lines_of([(50.0, 61, "a"), (90.0, 1, "b")], 100)[0] == "train target: 62/100, b; 0:25:20 left"


def test_short_stage_elsewhere_says_nothing_before_its_end():
    news = [(6.0 * number, 1, "") for number in range(10)]
    assert lines_of(news, 10) == ["train target:  (54.0 s)"]


def test_news_without_a_note_or_at_the_very_end():
    assert lines_of([(30.0, 1, ""), (70.0, 1, ""), (140.0, 2, ""), (210.0, 0, "4 rows")], 4) == [
        "train target: 2/4; 0:01:20 left",
        "train target: 4 rows (210.0 s)",
    ]


def test_on_a_terminal_the_bar_is_enough():
    now = iter(range(0, 10_000, 300))

    def work(console):
        with ConsoleProgress(console, clock=lambda: float(next(now))).stage("train target", 5) as advance:
            for _ in range(4):
                advance(1, "slow")

    assert "left" not in screen(work, force_terminal=True)
