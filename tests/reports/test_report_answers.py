"""What the report answers: its words for every kind of results, and the commands that make them again."""

import copy
import shlex
from decimal import Decimal

import pytest
from reading_pages import KINDS, Reader, change, page_of, written

from mindefense import cli
from mindefense.reports.appendix import not_run_by_reason
from mindefense.reports.report import as_markdown
from mindefense.reports.upgrade import upgraded
from mindefense.reports.wording import find, of_hundred, percent, rounded

SAID = {
    "smoke run": [
        "Not measured: this was a smoke test.", "Do not quote these figures synthetic data", "Not at all: ",
        "The published attacker (nn), unaware of the defense, falls from", "with it, the best attacker is right in",
        "slightly changed queries sent 8 times: AUC", "--smoke", "learned from a shadow", "defense: defenmi",
    ],
    "recorded": [
        "behind the recorded defense", "recorded outputs answers.npz", "No predicted class changes", "600 samples",
        "recorded outputs cannot be queried again", "mindefense evaluate --outputs answers.npz --seed 0",
        "non-members members by mistake.", "of their area undefended and", "What the answers in answers.npz reveal",
    ],
    "recorded alone": [
        "Yes.", "There was no defense.", "there is no budget to spend",
        "Put a defense in front of the model, record its answers", "There is no defense to compare",
    ],
    "one attack": ["on average the strongest of 2 attackers", "max-confidence", "A stronger attacker may", "checks"],
    "failed checks and canaries": [
        "1 of 3 checks of the measurement failed.", "sample-size : There are 500 members. Figures are rough.", "FAILED",
        "wrong label",
        "What to do next? Judge by more rows.",
        "kept no points of the ROC curves", "kept no histograms", "Yes; behind the defense, somewhat.",
        "falls from 100.0% to 73.4%", "3 of 1,001 predicted classes change",
        "falls from 77.5% at a budget of 0 to 50.1%",
    ],
    "old": ["kept no points of the ROC curves", "Fresh noise averages out.", "sent 64 times"],
    "comparison": [
        "At best 100.0% falls to", "3 ways to defend", "by all costs in the table: undefended, defenmi-published",
        "behind the best of the defenses", "sample-size all; for example undefended: There are 500 members.",
        "smoke top-k=3, label-smoothing=0.3; for example top-k=3: This was a smoke test.",
        "--defenses defenmi-published,top-k=3 --training label-smoothing=0.3,dp=1", "VGG16 has batch normalization",
    ],
    "old comparison": [
        "At best 83.2% falls to 69.4%, by early-stopping=0.9.", "laplace=0.1 has the lowest figure: 79.5% (76.1–82.6%)",
        "worse predictions: undefended, weight-decay=0.005, memguard=0.1, early-stopping=0.9",
        "With early-stopping=0.9, the model's accuracy goes from 80.8% to 72.8%", "mindefense train-defender --out",
        "Yes, behind the best of the defenses too.",
        "all but weight-decay=0.005, label-smoothing=0.3; for example undefended:",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_page_says(kind, kinds, tmp_path):
    html, markdown = written(kinds[kind], tmp_path)
    text = Reader(html).text
    for words in SAID[kind]:
        assert words in text
    held = kinds[kind]
    best = held["contenders"][0]["verdict"] if "contenders" in held else held["verdict"]["undefended"]
    figure = f"{best['strongest_balanced_accuracy']:.1%}"
    interval = f"{100 * best['strongest_low']:.1f}–{100 * best['strongest_high']:.1f}%"
    for said in (text, markdown):
        assert figure in said
        assert interval in said
    questions = ["leak who was in its training data?", "How often is the best", "be trusted?", "to do next?"]
    if "contenders" in held or held["defense"] is not None:
        questions.append("cost the users")
    for question in questions:
        assert question in text
        assert question in markdown


def altered(held, before, after, *, half=0.02, attackers=(29, 63)):
    """An evaluation, or a comparison with all defenses alike, whose strongest attackers are right so often."""
    held = copy.deepcopy(held)
    verdicts = [one["verdict"] for one in held.get("contenders", ())] or list(held["verdict"].values())
    for number, verdict in enumerate(verdicts):
        figure = after if number else before
        figures = {
            "strongest_balanced_accuracy": figure,
            "strongest_low": figure - half,
            "strongest_high": figure + half,
        }
        verdict |= {**figures, "attackers": attackers[bool(number)]}
    if "contenders" in held:
        for one in held["contenders"][1:]:
            one["change"] = change(before, after, half)
    else:
        held["change"] = change(before, after, half)
    return held


@pytest.mark.parametrize(
    ("before", "after", "half", "tones", "short", "more"),
    [
        (0.83612, 0.83638, 0.02, "bad", "Nothing against the best attacker: 83.6% with it and without it.", ""),
        (0.83638, 0.83612, 0.0001, "bad", "Nothing against the best attacker: 83.6% with it and without it.", ""),
        (0.8, 0.81, 0.02, "bad", "Little or nothing against the best attacker: 80.0% to 81.0%.",
         "the figure is of the best of 63 attackers behind the defense and of 29 undefended."),
        (0.8, 0.79, 0.02, "bad", "Little or nothing against the best attacker: 80.0% to 79.0%.",
         "may explain the difference."),
        (0.7, 0.8, 0.02, "bad", "The best attacker gains: 70.0% to 80.0%.", ""),
        (0.8, 0.7, 0.02, "mixed", "The best attacker falls from 80.0% to 70.0%.", ""),
    ],
)  # fmt: skip
def test_gains_and_falls_are_those_that_can_be_told(before, after, half, tones, short, more, recorded):
    held = altered(recorded, before, after, half=half)
    held["verdict"]["defended"]["level"] = "leak"
    answer = page_of(held).answers[3]
    assert (answer.short, answer.tone) == (short, tones)
    assert any(more in text for text in answer.text)
    assert bool(more) == any("chance" in text for text in answer.text)


@pytest.mark.parametrize(
    ("before", "after", "tone", "short"),
    [
        (0.8361, 0.8360, "bad", "No defense lowers the figure of the best attacker: 83.6%."),
        (0.8, 0.81, "bad", "No defense lowers the figure of the best attacker: 80.0%."),
        (0.8, 0.79, "bad", "Little or nothing: at best from 80.0% to 79.0%, by defenmi-published."),
        (0.8, 0.7, "mixed", "At best 80.0% falls to 70.0%, by defenmi-published."),
    ],
)
def test_the_undefended_model_is_no_defense(before, after, tone, short, kinds):
    answer = page_of(altered(kinds["comparison"], before, after)).answers[3]
    assert (answer.short, answer.tone) == (short, tone)
    alike = "The same figure is reached by top-k=3, label-smoothing=0.3."
    assert (alike in " ".join(answer.text)) == (short[0] != "N")
    assert "none" not in " ".join(answer.text)
    assert ("chance" in " ".join(answer.text)) == short.startswith("Little")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0.0, "none of 100 others"), (1e-17, "none of 100 others"), (0.003, "fewer than one of 100 others"),
        (0.21, "21 of 100 others"), (0.996, "almost all others"), (1.0, "all others"),
    ],
)  # fmt: skip
def test_shares_are_said_in_whole_people(part, said):
    assert of_hundred(part, "others") == said


def test_a_figure_is_rounded_alike_in_tables_and_sentences(recorded):
    for number in (count / 10_000 for count in range(10_001)):
        assert 100 * Decimal(rounded(number)) == Decimal(percent(number).removesuffix("%")), number
    held = altered(recorded, 0.8075, 0.5005)
    best = find(held["attacks"], held["verdict"]["undefended"]["strongest"], defended=False)
    best |= {"balanced_accuracy": 0.8075, "balanced_accuracy_low": 0.7885}
    markdown = as_markdown(page_of(held))
    assert "| **0.808** | 0.789–" in markdown
    assert "right in 80.8% of its guesses (95% interval 78.8–82.8%" in markdown


def test_who_was_left_out_is_named_once_for_each_reason():
    left = [
        {"name": name, "knowledge": knowledge, "reason": reason}
        for name, knowledge, reason in (
            ("nn", "shadow", "no shadow"), ("label-noise", "auditor", "bits"), ("label-noise", "shadow", "bits"),
            ("nsh", "shadow", "no shadow"), ("dp=1", "training", "norms"),
        )
    ]  # fmt: skip
    assert not_run_by_reason(left) == [
        ("no shadow", "nn, nsh (learned from a shadow)"),
        ("bits", "label-noise (learned from the target or a shadow)"),
        ("norms", "dp=1"),
    ]


def test_only_threat_models_of_somebody_there_are_spelled_out(kinds):
    said = {kind: {name for name, _ in page_of(kinds[kind]).threats} for kind in ("smoke run", "recorded alone")}
    everybody = {
        "member",
        "learned from nothing",
        "learned from the target",
        "learned from a shadow",
        "unaware",
        "adapts",
    }
    assert said["smoke run"] == {*everybody, "learned from an online bank", "keyed noise"}
    assert said["recorded alone"] == everybody - {"learned from a shadow", "adapts"}


@pytest.mark.parametrize(("mark", "tone"), [("synthetic", "bad"), ("smoke", "bad"), (None, "good")])
def test_made_up_figures_are_not_to_be_trusted(mark, tone, recorded):
    held = copy.deepcopy(recorded)
    held["checks"] = [{**check, "passed": True} for check in held["checks"]]
    if mark is not None:
        held[mark] = True
    (trust,) = [answer for answer in page_of(held).answers if answer.question.endswith("be trusted?")]
    assert trust.tone == tone


def test_smoke_test_is_neither_good_nor_bad_news(kinds):
    assert [answer.tone for answer in page_of(kinds["smoke run"]).answers] == [
        "mixed",
        "plain",
        "plain",
        "plain",
        "bad",
        "plain",
        "plain",
    ]


@pytest.mark.parametrize(
    ("levels", "short"),
    [
        (("leak", "leak"), "Yes, behind the defense too."),
        (("leak", "some"), "Yes; behind the defense, somewhat."),
        (("leak", "none found"), "Yes; behind the defense, no leak was found."),
        (("some", "some"), "Somewhat, behind the defense too."),
        (("some", "leak"), "Somewhat; behind the defense, yes."),
        (("none found", "none found"), "These attackers found no leak, behind the defense or without it."),
        (("cannot be told", "cannot be told"), "This cannot be told from these rows."),
        (("cannot be told", None), "This cannot be told from these rows."),
        (("leak", None), "Yes."),
    ],
)
def test_first_answer(levels, short, kinds):
    held = copy.deepcopy(kinds["recorded alone" if levels[1] is None else "recorded"])
    for state, level in zip(("undefended", "defended"), levels, strict=True):
        if level is not None:
            held["verdict"][state]["level"] = level
    assert page_of(held).answers[0].short == short


def test_a_verdict_names_what_is_beyond_chance_even_if_it_is_not_the_strongest(kinds):
    held = copy.deepcopy(kinds["recorded alone"])
    gap = {"name": "gap", "knowledge": "none", "adversary": "static"}
    held["verdict"]["undefended"] |= {
        "level": "some", "identifies_beyond_chance": False, "shown_by": gap, "shown_figure": "balanced accuracy",
        "shown_low": 0.512, "shown_high": 0.561, "tutorial_rule": False,
    }  # fmt: skip
    answers = page_of(held).answers
    assert "the balanced accuracy of gap is beyond chance (0.5): its 95% interval is 0.512–0.561" in answers[0].text[0]
    assert "not met undefended" in answers[0].points[0][1]
    assert answers[1].short.startswith("No more than chance explains")


def test_with_few_non_members_nothing_is_said_of_small_rates(kinds):
    held = copy.deepcopy(kinds["recorded alone"])
    held["verdict"]["undefended"] |= {"identifies": None, "identified": None, "identifies_beyond_chance": False}
    answer = page_of(held).answers[1]
    assert answer.short == "That cannot be told: there are too few non-members."


def test_the_floor_of_defenses_that_keep_classes_is_the_undefended_gap(kinds):
    held = copy.deepcopy(kinds["recorded"])
    held["defense"] |= {"keeps_labels": False, "label_changes": 256}
    held["verdict"]["undefended"]["gap_accuracy"], held["verdict"]["defended"]["gap_accuracy"] = 0.52, 0.648
    held["verdict"]["defended"]["level"] = "leak"
    step = next(answer for answer in page_of(held).answers if answer.question == "What to do next?")
    said = " ".join([step.short, *step.text])
    gap = "The gap attack alone is right in 52.0% of its guesses"
    assert f"{gap}, and no defense that keeps the predicted classes lowers that" in said
    assert "64.8%" not in said


def test_shares_at_different_rates_are_told_apart(kinds):
    held = copy.deepcopy(kinds["recorded"])
    for state, fpr in (("undefended", 0.001), ("defended", 0.01)):
        verdict = held["verdict"][state]
        verdict["identified"] |= {"fpr": fpr, "identified": 40, "share": 0.04, "share_low": 0.03}
        verdict["identifies_beyond_chance"] = True
    answers = page_of(held).answers
    assert answers[1].short == (
        "At least 3.0% (at a false positive rate of 0.1%) undefended; at least 3.0% (at a false positive rate of 1%) "
        "behind the defense."
    )
    said = " ".join(text for answer in answers for text in answer.text)
    assert "At different rates, the two numbers cannot be compared." in said
    held["verdict"]["defended"]["identified"]["fpr"] = 0.001
    answers = page_of(held).answers
    assert answers[1].short == "At least 3.0% undefended; at least 3.0% behind the defense."
    assert "cannot be compared" not in " ".join(text for answer in answers for text in answer.text)


def test_verdicts_of_older_files_are_those_of_their_figures(kinds):
    held = copy.deepcopy(kinds["recorded"])
    old = copy.deepcopy(held)
    old["schema_version"] = 4
    del old["change"]
    new = {"level", "identifies", "identified", "identifies_beyond_chance", "shown_by", "shown_figure", "shown_low",
           "shown_high", "tutorial_rule"}  # fmt: skip
    for verdict in old["verdict"].values():
        verdict["leaks"] = verdict["tutorial_rule"]
        for name in new:
            del verdict[name]
    again = upgraded(old)
    assert set(again["verdict"]["undefended"]) == set(held["verdict"]["undefended"])
    for state, verdict in held["verdict"].items():
        found = again["verdict"][state]
        for name in ("level", "tutorial_rule", "identifies_beyond_chance"):
            assert found[name] == verdict[name], (state, name)
        # An older file has the rows of the table alone, not all rows for attackers whose scores are fitted to none.
        attack = next(
            one
            for one in held["attacks"]
            if one["defended"] == (state == "defended") and one | found["identifies"] == one
        )
        rate = next(rate for rate in attack["tpr_at_fpr"] if rate["fpr"] == found["identified"]["fpr"])
        assert found["identified"]["identified"] == round(rate["tpr"] * attack["n_members"])
    assert upgraded(again) == again


# ---------------------------------------------------------------------------------------------------- to get this again


@pytest.mark.parametrize("kind", ["smoke run", "recorded", "old", "old comparison", "comparison"])
def test_commands_are_ones_that_the_command_line_takes(kind, kinds):
    held = kinds[kind]
    commands = [shlex.split(command) for command in page_of(held).commands]
    assert commands
    for command in commands:
        args = vars(cli.build_parser().parse_args(command[1:]))
        for name, value in args.items():
            settings = held["settings"]
            if name in settings and command[1] in ("run", "train") and settings["dataset"] != "synthetic":
                known = settings[name]
                if name in ("knowledge", "adversary"):
                    known = known[0] if len(known) == 1 else "all" if name == "knowledge" else "both"
                if (name, known) != ("width_multiplier", 1.0):  # what it is if nothing is said
                    assert value == (tuple(known) if isinstance(known, list) else known)


def test_smoke_run_is_made_again_with_its_own_settings(kinds):
    (command,) = page_of(kinds["smoke run"]).commands
    args = vars(cli.build_parser().parse_args(shlex.split(command)[1:]))
    assert (args["smoke"], args["seed"], args["data_path"], args["defense"]) == (True, 0, None, "defenmi")
