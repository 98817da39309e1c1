"""Prints results on a terminal: the opening lines, the tables, and the sentences below them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mindefense.evaluation.differences import ResultsDifference
from mindefense.reports.findings import answer_evaluation, states_of
from mindefense.reports.results import to_json
from mindefense.reports.wording import between, by_spread, percent, rounded, spread_figure, usual_in_words
from mindefense.types import AttackResult, Comparison, DefenseFacts, Evaluation, NotRun

_LEARNED_FROM = {"none": "–", "auditor": "target", "shadow": "shadow", "online": "online", "offline": "offline"}
_NAMED = 4
"""How many of the attackers that were left out for one reason the screen names; the files name all."""
_NARROW: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": 0, "pad_edge": False, "show_edge": False}
"""Settings with which three groups of figures beside the longest name fit in 80 columns."""


def print_opening(
    console: Console,
    *,
    dataset: str,
    synthetic: bool,
    smoke: bool,
    device: str,
    seed: int,
    parity: bool | None = None,
    roles: Sequence[str] = (),
    is_assumed: bool = False,
) -> None:
    """Prints what will be run, and how its figures are limited.

    Args:
        console: Where to print.
        dataset: Name of the data set.
        synthetic: Whether its rows are made up.
        smoke: Whether this is a smoke test.
        device: Where the networks run.
        seed: Seed of the study.
        parity: Whether only images of members are cropped and flipped; None if there are no images.
        roles: Which rows are members and non-members, in words.
        is_assumed: Whether the members are assumed, since it is not known which rows the target was trained on.
    """
    console.print(f"[bold]mindefense[/]: {escape(dataset)}, seed {seed}, on {device}", highlight=False)
    if synthetic:
        console.print("[yellow]synthetic data: no --data_path was given, so the rows are made up[/]")
    if smoke:
        console.print("[yellow]smoke test: few rows and epochs; the figures mean nothing[/]")
    for line in roles:
        console.print(escape(line), highlight=False)
    if is_assumed:
        console.print(
            "[yellow]it is not known which images the checkpoint was trained on, so all images of the training part "
            "are taken for members; if it was trained on only some of them, the figures are too low: give those with "
            "--members[/]"
        )
    if parity:
        console.print(
            "[yellow]parity: as in MindArmour's tutorial, only members are cropped and flipped at random; this alone "
            "distinguishes them from non-members, so the figures are higher than the leak[/]"
        )
    elif parity is not None:
        console.print(
            "members and non-members are treated alike; MindArmour's tutorial crops and flips only members, which "
            "alone distinguishes them from non-members (--parity does the same)",
            highlight=False,
        )


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Prints the table of attackers and the details; then the answers, last, so that they stay on the screen."""
    console.print(attack_table(evaluation))
    for line in [*particulars(evaluation), ""]:
        console.print(line, highlight=False)
    for question, lines in conclusions(evaluation):
        console.print(question, highlight=False)
        for line in lines:
            console.print(Padding(line, (0, 0, 0, 2)), highlight=False)


def tutorial_lines(evaluation: Evaluation) -> list[str]:
    """What MindArmour's tutorial prints for the undefended target: a line per method, at MindArmour's threshold."""
    lines = []
    for result in evaluation.attacks:
        before, _, method = result.name.partition("mindarmour-")
        if result.defended or before or not method:
            continue
        metrics = result.own or result.metrics
        figures = ", ".join(
            f"'{name}': {'None' if (figure := getattr(metrics, name)) is None else f'{figure:.4f}'}"
            for name in ("recall", "precision", "accuracy")
        )
        lines.append(f"Method: {method}, {{{figures}}}")
    return lines


def attack_table(evaluation: Evaluation) -> Table:
    """One row per attacker, one group of columns per state of the target; fits in 80 columns."""
    defense = f", {evaluation.defense.name}" if evaluation.defense is not None else ""
    table = Table(
        title=_title("Membership inference", evaluation) + escape(defense),
        **_NARROW,
        caption="acc: balanced accuracy, AUC: area under the ROC curve (below .5, the ranking is\n"
        "inverted), TPR: true positive rate at a false positive rate of 1%",
    )
    table.add_column("attacker", no_wrap=True)
    table.add_column("learned\nfrom")
    heads = {("static", False): "undefended"}
    if evaluation.defense is not None:
        heads |= {("static", True): "defended,\nunaware of it", ("adaptive", True): "defended,\nadapts to it"}
    for head in heads.values():
        table.add_column(f"{head}\nacc  AUC  TPR", justify="left", no_wrap=True)
    by_attacker: dict[tuple[str, str], dict[tuple[str, bool], AttackResult]] = {}
    for result in evaluation.attacks:
        by_attacker.setdefault((result.name, result.knowledge), {})[result.adversary, result.defended] = result
    tops = [evaluation.undefended.strongest, evaluation.defended.strongest if evaluation.defended else None]
    for (name, knowledge), results in by_attacker.items():
        cells = []
        for group in heads:
            result = results.get(group)
            cells.append(Text(_figures(result), style="bold red" if result in tops else "") if result else Text("–"))
        table.add_row(name, _LEARNED_FROM[knowledge], *cells)
    return table


def comparison_table(comparison: Comparison) -> Table:
    """One row per defense: how often the strongest attacker is right behind it, and what it costs."""
    table = Table(
        title=_title("Ways to defend", comparison),
        caption="attack: balanced accuracy of the strongest attacker with its 95% interval,\n"
        "and the highest two-sided AUC of all; cost: mean L1 distance, calibration error,\n"
        "negative log-likelihood, accuracy of the model;\n"
        "grey (dominated): another one leaks no more and costs no more",
        **_NARROW,
    )
    table.add_column("defense", no_wrap=True)
    table.add_column("strongest attacker", overflow="fold", min_width=15)
    for head in ("attack", "95%", "AUC", "L1", "ECE", "NLL", "acc"):
        table.add_column(head, justify="right", no_wrap=True)
    for contender in comparison.contenders:
        verdict, cost = contender.verdict, contender.utility
        table.add_row(
            contender.name + ("*" if contender.in_training else ""),
            f"{verdict.strongest.name}",
            _figure(verdict.strongest.metrics.balanced_accuracy),
            f"{_figure(verdict.strongest_low)}–{_figure(verdict.strongest_high)}",
            _figure(verdict.sharpest.metrics.two_sided_auc),
            _figure(cost.mean_l1),
            _figure(cost.ece),
            rounded(cost.nll, ".2f"),
            _figure(cost.accuracy),
            style="dim" if contender.dominated_by else "",
        )
    return table


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Prints the table of defenses, what was left out, and the failed checks."""
    console.print(comparison_table(comparison))
    if any(contender.in_training for contender in comparison.contenders):
        console.print("* trained differently: another target, whose answers are compared with those of the first")
    if comparison.contenders[0].utility.accuracy is None:
        console.print(f"{_UNLABELLED}; accuracy, ECE and NLL are unknown", highlight=False)
    for line in [*_left_out(comparison.not_run), *_doubts_by(comparison)]:
        console.print(line, highlight=False)


def conclusions(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """The questions of the report with their short answers, and the lines below each."""
    results = to_json(evaluation)
    found = []
    for answer in answer_evaluation(results, states_of(results)):
        head = f"[bold]{escape(answer.question)}[/] [{_TONES[answer.tone]}]{escape(_plain(answer.short))}[/]"
        points = [f"{name}: {text}" for name, text in answer.points]
        found.append((head, [escape(_plain(text)) for text in [*answer.text, *points]]))
    return found


_UNLABELLED = "true classes not recorded, so attackers that need them did not run"
_TONES = {"bad": "bold red", "mixed": "bold yellow", "good": "bold green", "plain": "bold"}


def _plain(text: str) -> str:
    return text.replace("`", "")


def particulars(evaluation: Evaluation) -> list[str]:
    """The lines below the table, with details that are not in the answers."""
    lines = []
    target = evaluation.target
    shadow = ""
    if evaluation.shadow_accuracy is not None:
        shadow = f"; shadow {' / '.join(map(percent, evaluation.shadow_accuracy))}"
    known = (
        _UNLABELLED
        if target.member_accuracy is None
        else f"{percent(target.member_accuracy)} of its members classified correctly, "
        f"{percent(target.non_member_accuracy)} of the non-members"
    )
    lines.append(
        f"target: {known}{shadow}; queries: {target.queries}"
        + (f", behind the defense {evaluation.defense.queries}" if evaluation.defense is not None else "")
    )
    if evaluation.defense is not None:
        defense, cost = evaluation.defense, evaluation.defense.defended
        accuracy = "" if cost.accuracy is None else f" accuracy {percent(cost.accuracy)},"
        error = f"; calibration error {rounded(defense.undefended.ece)} → {rounded(cost.ece)}"
        lines.append(
            f"cost of {_defense(defense)}: {cost.label_changes} labels changed,{accuracy} L1 distance mean "
            f"{rounded(cost.mean_l1)}, median {rounded(cost.median_l1)}, max {rounded(cost.max_l1)}"
            + ("" if cost.ece is None else error)
        )
        if evaluation.budgets:
            points = ", ".join(f"{point.budget:g} → {rounded(point.accuracy)}" for point in evaluation.budgets)
            lines.append(f"accuracy of the nn attacker, unaware of the defense, by L1 budget: {points}")
    for slices in evaluation.slices:
        if (worst := slices.worst) is not None:
            state = "defended" if slices.defended else "undefended"
            lines.append(
                f"worst part, {state}: {worst.part}, AUC {rounded(worst.auc)} ({between(worst.low, worst.high)}, 95% "
                f"for {len(slices.parts)} parts together) by {slices.attack}"
            )
    for risks in evaluation.risks:
        first, state = risks.most(1)[0], "defended" if risks.defended else "undefended"
        lines.append(
            f"row most at risk, {state}: {risks.indices[first]}, separation {risks.separation[first]:.2f} "
            f"({risks.low[first]:.2f}–{risks.high[first]:.2f}, 95% for this row alone) by {risks.attack} with "
            f"{risks.models} models"
        )
    if evaluation.other_targets is not None:
        results = to_json(evaluation)
        found, figure = results["other_targets"], spread_figure(results)
        for defended in (False, True):
            if here := by_spread(found, figure, defended=defended):
                attack, spread = here[0]
                lines.append(
                    f"{found['targets']} other models in this one's place, "
                    f"{'defended' if defended else 'undefended'}: {attack['name']} {usual_in_words(spread)}"
                )
    if evaluation.canaries:
        best = max(evaluation.canaries, key=lambda result: result.metrics.two_sided_auc)
        metrics = best.metrics
        lines.append(
            f"canaries, {metrics.n_members} members and {metrics.n_non_members} non-members with wrong labels: the "
            f"highest two-sided AUC is {rounded(metrics.two_sided_auc)}, by {best.name} "
            f"({best.adversary}, {'defended' if best.defended else 'undefended'})"
        )
    lines += _left_out(evaluation.not_run)
    return lines


def _title(what: str, found: Evaluation | Comparison) -> str:
    there = (("SYNTHETIC DATA", found.synthetic), ("SMOKE TEST", found.smoke))
    marks = [word for word, is_there in there if is_there]
    return f"{what} on {escape(found.dataset)}" + (f" — {', '.join(marks)}" if marks else "")


def _defense(defense: DefenseFacts) -> str:
    alignment = defense.config.get("alignment")
    said = [*([str(alignment)] if alignment else []), *(["FRESH NOISE"] if defense.noise == "fresh" else [])]
    return defense.name + (f" ({', '.join(said)})" if said else "")


def _left_out(not_run: Sequence[NotRun]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for left_out in not_run:
        reasons.setdefault(left_out.reason, []).append(f"{left_out.name} ({left_out.knowledge})")
    lines = []
    for reason, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"not run: {', '.join(names[:_NAMED])}{more}: {reason}")
    return lines


def _doubts_by(comparison: Comparison) -> list[str]:
    """The failed checks of a comparison, each with the contenders that it concerns."""
    about: dict[str, list[str]] = {}
    for name, checks in comparison.checks.items():
        for check in checks:
            if not check.passed:
                about.setdefault(check.name, []).append(name)
    everywhere = len(comparison.checks)
    return [
        f"[yellow]failed check[/] {check}: {'all' if len(names) == everywhere else ', '.join(names)}; "
        "comparison.json states what it means and what to do"
        for check, names in about.items()
    ]


def _figure(number: float | None) -> str:
    """Four characters, such as ``.693`` and ``1.24``."""
    text = rounded(number)
    return text[1:] if text.startswith("0.") else rounded(number, ".2f")


def _figures(result: AttackResult) -> str:
    metrics = result.metrics
    tpr = next(rate.tpr for rate in metrics.tpr_at_fpr if rate.fpr == 0.01)
    figures = [_figure(figure) for figure in (metrics.balanced_accuracy, metrics.auc, tpr)]
    if metrics.n_non_members < 100:  # 1% of them is less than one
        figures[-1] = "–".ljust(4)
    return " ".join(figures)


def print_differences(
    console: Console, found: ResultsDifference, names: Sequence[str], held: Sequence[Mapping[str, Any]]
) -> None:
    """Prints what changed between two results: verdicts, figures that changed beyond chance, and other differences.

    Args:
        console: Where to print.
        found: What changed.
        names: Names of the older and the newer file.
        held: Their contents.
    """
    say = functools.partial(console.print, highlight=False)
    for word, name, results in zip(("old", "new"), names, held, strict=True):
        evidence = results.get("evidence") or {}
        said = [results["dataset"], evidence.get("title"), evidence.get("created")]
        say(f"{word}: {escape(name)} ({escape(', '.join(one for one in said if one))})")
    for state, levels in found.levels.items():
        counts = found.identified[state]
        what = f"[bold]{state}[/]: {_then(*levels)}"
        say(what + (f"; members identified: {_then(*counts)}" if any(counts) else ""))
    if found.same_members is False:
        say("[yellow]The two evaluations have different members: the rows may cause the differences.[/]")
    if any(one.change.value for one in found.figures):
        table = Table(**_NARROW, caption="figures that changed beyond chance; change: new minus old, with an\n"
                      "interval that holds for all figures of all attackers together")  # fmt: skip
        for head in ("attacker", "figure"):
            table.add_column(head, overflow="fold")
        for head in ("old", "new", "change"):
            table.add_column(head, justify="right", no_wrap=True)
        changed = sorted((*found.more, *found.less), key=lambda one: -one.change.value)
        for one in changed:
            change = one.change
            table.add_row(
                f"{one.attack[0]} ({', '.join(one.attack[1:])})",
                one.figure,
                rounded(one.old),
                rounded(one.new),
                f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
                style="red" if change.value > 0 else "green",
            )
        if changed:
            say(table)
    say(
        f"[bold]{len(found.more)} of {len(found.figures)} figures are significantly higher, {len(found.less)} lower[/]"
        + (" (AUCs compared row by row)" if any(one.paired for one in found.figures) else "")
    )
    for word, those in (("old", found.only_old), ("new", found.only_new)):
        if those:
            say(f"attackers only in the {word} one: {', '.join(those)}")
    for name, is_new in found.checks.items():
        say(f"the check {name} fails only in the {'newer' if is_new else 'older'} one")
    for name, (before, after) in found.facts.items():
        say(f"{name}: {escape(_short(before))} → {escape(_short(after))}")


def _then(before: str | None, after: str | None) -> str:
    one, other = before or "not evaluated", after or "not evaluated"
    return one if one == other else f"{one} → {other}"


def _short(value: Any) -> str:
    said = "none" if value is None else str(value)
    return said if len(said) <= 60 else said[:12] + "…"
