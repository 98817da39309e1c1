"""What an evaluation looks like on a screen: progress bars while it works, one table and a few sentences after."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mindefense.types import AttackResult, Evaluation, Verdict

_KNOWLEDGE = {"none": "fitted on nothing", "auditor": "fitted on the target", "shadow": "fitted on a shadow"}
_LEARNED_FROM = {"none": "–", "auditor": "target", "shadow": "shadow"}
_SILENCE = 60
"""Seconds without a line, elsewhere than on a terminal, after which the next news of a stage is told."""


class ConsoleProgress:
    """Bars on a terminal; elsewhere one line a finished stage, and at most one a minute while it lasts.

    Args:
        console: Where to print.
        clock: Says how many seconds have gone by.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.perf_counter):
        self._console = console
        self._clock = clock

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar of `total` units; the callable takes the units just done and a short note."""
        began = spoke = self._clock()
        last, so_far = "", 0
        first: tuple[float, int] | None = None
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<15}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total, note="")

            def advance(done: int, note: str) -> None:
                nonlocal last, so_far, first, spoke
                last, so_far, now = note, so_far + done, self._clock()
                bars.update(task, advance=done, note=note)
                if not self._console.is_terminal and so_far < total and now - spoke >= _SILENCE:
                    spoke = now
                    news = f"{title}: {so_far}/{total}" + (f", {note}" if note else "")
                    self._console.print(news + _left(first, (now, so_far), total), highlight=False)
                first = first or (now, so_far)

            yield advance
        if not self._console.is_terminal:
            self._console.print(f"{title}: {last} ({self._clock() - began:.1f} s)", highlight=False)


def _left(first: tuple[float, int] | None, now: tuple[float, int], total: int) -> str:
    """The time left, from the pace since the first news, which may hold what was done in an earlier run."""
    if first is None or now[1] <= first[1]:
        return ""
    seconds = (now[0] - first[0]) / (now[1] - first[1]) * (total - now[1])
    return f"; {datetime.timedelta(seconds=round(seconds))} left"


def print_opening(
    console: Console, *, dataset: str, synthetic: bool, smoke: bool, device: str, seed: int, parity: bool | None = None
) -> None:
    """Says what is about to happen, and what the figures will not be.

    Args:
        console: Where to print.
        dataset: Name of the data set.
        synthetic: Whether its rows are made up.
        smoke: Whether this is a smoke test.
        device: Where the networks run.
        seed: Seed of the study.
        parity: Whether images of members alone are cropped and flipped; None if there are no images.
    """
    console.print(f"[bold]mindefense[/]: {dataset}, seed {seed}, on {device}", highlight=False)
    if synthetic:
        console.print("[yellow]synthetic data: no --data_path was given, so these rows are made up like real ones[/]")
    if smoke:
        console.print("[yellow]smoke test: few rows and epochs; the figures mean nothing[/]")
    if parity:
        console.print(
            "[yellow]parity: as in MindArmour's tutorial, members alone are cropped and flipped at random; that by "
            "itself tells them apart, so the figures say more than the model leaks[/]"
        )
    elif parity is not None:
        console.print(
            "members and non-members are treated alike; MindArmour's tutorial crops and flips members only, which "
            "by itself tells them apart (--parity does as it does)",
            highlight=False,
        )


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The table of attackers, the cost, the budget table and the verdict."""
    console.print(attack_table(evaluation))
    for line in summary(evaluation):
        console.print(line, highlight=False)


def tutorial_lines(evaluation: Evaluation) -> list[str]:
    """What MindArmour's tutorial prints of the undefended target: a line for each of MindArmour's methods."""
    lines = []
    for result in evaluation.attacks:
        before, _, method = result.name.partition("mindarmour-")
        if result.defended or before or not method:
            continue
        figures = ", ".join(
            f"'{name}': {'None' if (figure := getattr(result.metrics, name)) is None else f'{figure:.4f}'}"
            for name in ("recall", "precision", "accuracy")
        )
        lines.append(f"Method: {method}, {{{figures}}}")
    return lines


def attack_table(evaluation: Evaluation) -> Table:
    """One row an attacker, one group of columns a state of the target; fits 80 columns."""
    there = (("SYNTHETIC DATA", evaluation.synthetic), ("SMOKE TEST", evaluation.smoke))
    marks = [word for word, is_there in there if is_there]
    title = f"Membership inference on {evaluation.dataset}" + (f" — {', '.join(marks)}" if marks else "")
    table = Table(title=title, caption="acc: accuracy, AUC: area under the ROC, TPR: members found at 1% false alarms")
    table.add_column("attacker", no_wrap=True)
    table.add_column("learned\nfrom")
    heads = {("static", False): "undefended"}
    if evaluation.defense is not None:
        name = evaluation.defense.name
        heads |= {("static", True): f"{name},\nunaware of it", ("adaptive", True): f"{name},\nadapts to it"}
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


def summary(evaluation: Evaluation) -> list[str]:
    """The sentences under the table."""
    target = evaluation.target
    shadow = ""
    if evaluation.shadow_accuracy is not None:
        shadow = "; shadow {:.1%} / {:.1%}".format(*evaluation.shadow_accuracy)
    lines = [
        f"target: {target.member_accuracy:.1%} of its members classified rightly, {target.non_member_accuracy:.1%} of "
        f"the non-members{shadow}"
    ]
    if evaluation.defense is not None:
        defense, cost = evaluation.defense, evaluation.defense.defended
        lines.append(
            f"cost of {defense.name} ({defense.alignment}): {cost.label_changes} labels changed, accuracy "
            f"{cost.accuracy:.1%}, L1 distance mean {cost.mean_l1:.3f}, median {cost.median_l1:.3f}, max "
            f"{cost.max_l1:.3f}; calibration error {defense.undefended.ece:.3f} → {cost.ece:.3f}"
        )
        if evaluation.budgets:
            points = ", ".join(f"{point.budget:g} → {point.accuracy:.3f}" for point in evaluation.budgets)
            lines.append(f"accuracy of the nn attacker, unaware of the defense, by L1 budget: {points}")
    notes = {rate.note for result in evaluation.attacks for rate in result.metrics.tpr_at_fpr if rate.note}
    lines += [f"note: {note}" for note in sorted(notes)]
    lines.append(_verdict("undefended", evaluation.undefended))
    if evaluation.defended is not None:
        lines.append(_verdict("defended", evaluation.defended))
        one_way = [
            f"{result.name} ({result.adversary})"
            for result in evaluation.attacks
            if result.defended and not 0.05 < result.metrics.share_called_member < 0.95
        ]
        if one_way:
            lines.append(
                f"beware: on defended outputs these answer nearly one way: {', '.join(one_way)}; an accuracy near 0.5 "
                "then says that the attacker was fooled, not that nothing is left to find"
            )
    return lines


def _verdict(state: str, verdict: Verdict) -> str:
    best = verdict.strongest
    word = (
        "[bold red]leaks[/]"
        if verdict.leaks
        else "[bold green]no attacker has accuracy, precision and recall all above 0.6[/]"
    )
    return (
        f"[bold]{state}[/]: {word}; strongest attacker {best.name} ({best.adversary}, {_KNOWLEDGE[best.knowledge]}) "
        f"with balanced accuracy {best.metrics.balanced_accuracy:.3f}; the gap attack, which no defense that keeps the "
        f"labels can lower, has {verdict.gap_accuracy:.3f}"
    )


def _figures(result: AttackResult) -> str:
    metrics = result.metrics
    figures = (metrics.accuracy, metrics.auc, metrics.tpr_at_fpr[0].tpr)
    return " ".join("1.00" if figure >= 0.9995 else f"{figure:.3f}"[1:] for figure in figures)
