"""The report: the contents of a results file in words, pictures and tables, on one self-contained page.

The report is made from the file alone; no attack runs. Names in the file may be untrusted, so every text is escaped.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mindefense.errors import DataError, MindefenseError, PackageError
from mindefense.files import replacing, write_text
from mindefense.reports.answers import Answer
from mindefense.reports.appendix import how_to_repeat, known_attackers, not_run_by_reason, threat_models
from mindefense.reports.findings import answer_comparison, answer_evaluation, states_of
from mindefense.reports.panels import Plate, evaluation_plates, scale, tradeoff_plates
from mindefense.reports.results import SCHEMA_VERSION, schema
from mindefense.reports.svg import Picture
from mindefense.reports.tables import (
    Sheet,
    attacker_sheet,
    canary_sheets,
    checks_sheet,
    contender_sheet,
    cost_sheets,
    matrix_sheet,
    part_sheets,
    risk_sheets,
    target_sheets,
)
from mindefense.reports.upgrade import upgraded
from mindefense.reports.validation import faults
from mindefense.reports.wording import Row, called, number, percent

_LEAD = (
    "Membership inference: an attacker that holds a sample, such as a person's record, queries the model and guesses "
    "from the answer whether the sample was in the training data."
)

OLDEST = 3
"""The oldest schema from which a report can be made."""


@dataclasses.dataclass(frozen=True)
class Page:
    """The contents of a report.

    Attributes:
        title: Title of the page.
        subtitle: What was evaluated.
        lead: Introduction for readers who do not know the field.
        banners: Reasons not to quote the figures.
        answers: The questions and answers at the top.
        scale: The picture beside them.
        plates: The other pictures.
        sheets: The tables.
        threats: Threat models, and their meaning.
        attackers: Attackers, and what each uses.
        left_out: Reasons, and the attackers that were left out for each.
        commands: Commands that reproduce the figures.
        note: A note on the commands.
        facts: Seed, versions and settings by name.
        source: The file that this was made from.
    """

    title: str
    subtitle: str
    lead: str
    banners: Sequence[str]
    answers: Sequence[Answer]
    scale: Picture
    plates: Sequence[Plate]
    sheets: Sequence[Sheet]
    threats: Sequence[tuple[str, str]]
    attackers: Sequence[tuple[str, str]]
    left_out: Sequence[tuple[str, str]]
    commands: Sequence[str]
    note: str
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    source: str

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [self.scale, *(picture for plate in self.plates for picture in plate.pictures)]


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a results or comparison file.

    Raises:
        DataError: If it is missing, not such a file, damaged, or of an unknown schema version.
    """
    path = Path(path)
    fix = "give results.json or comparison.json, as `mindefense evaluate` and `mindefense compare` write them"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not JSON"
        raise DataError(f"cannot read {path}: {reason}", fix=fix) from error
    if not isinstance(held, dict) or not ({"attacks", "contenders"} & set(held)):
        raise DataError(f"{path} holds no results", fix=fix)
    version = held.get("schema_version")
    if not isinstance(version, int) or not OLDEST <= version <= SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise DataError(
            str(path),
            expected=f"a schema version from {OLDEST} to {SCHEMA_VERSION}",
            got=str(version),
            fix="update mindefense" if newer else "evaluate again",
        )
    if fault := _fault(held):
        raise DataError(f"{path} is damaged: {fault}", fix="evaluate again")
    return held


def _fault(held: Mapping[str, Any]) -> str | None:
    """The first fault in the contents of a results file; None if it fits the schema."""
    try:
        today = upgraded(held)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        # An older version, for which there is no schema; it lacks a field that the upgrade needs.
        return f"no {error}" if isinstance(error, KeyError) else str(error)
    return next(faults(today, schema()), None)


def write_report(
    results: Mapping[str, Any], out: str | os.PathLike, *, figures: bool = False, source: str = ""
) -> tuple[Path, ...]:
    """Writes ``report.html`` and ``report.md`` into `out`, or ``comparison.html`` and ``.md``; returns their paths.

    Args:
        results: What a results or comparison file holds.
        out: The folder.
        figures: Whether to write every picture as SVG and PNG too, into a folder ``figures`` in `out`.
        source: The name of the file, as the page shows it; empty for the usual one.

    Raises:
        PackageError: If no page can be made of results that `read_results` accepted, which is a bug of this package.
        OutputError: If a file cannot be written.
    """
    is_comparison = "contenders" in results
    name, usual = ("comparison", "comparison.json") if is_comparison else ("report", "results.json")
    source = source or usual
    with _of_valid(source):
        page = comparison_page(results, source) if is_comparison else evaluation_page(results, source)
        html, markdown = as_html(page), as_markdown(page, figures=figures)
        drawn = [
            (f"{picture.name}.{suffix}", draw())
            for picture in (page.pictures if figures else ())
            for suffix, draw in (("svg", picture.svg), ("png", picture.png))
        ]
    paths = [Path(out) / f"{name}.html", Path(out) / f"{name}.md"]
    write_text(paths[0], html)
    write_text(paths[1], markdown)
    for file_name, data in drawn:
        paths.append(Path(out) / "figures" / file_name)
        with replacing(paths[-1]) as beside:
            beside.write_bytes(data)
    return tuple(paths)


@contextlib.contextmanager
def _of_valid(source: str) -> Iterator[None]:
    """Raises an error inside as PackageError, since the results are valid and the bug is in this package."""
    try:
        yield
    except (MindefenseError, MemoryError):
        raise
    except Exception as error:
        raise PackageError(
            f"no page can be made of {source} ({type(error).__name__}: {error})",
            fix="this is a bug of mindefense, not of the file: please report it with the file",
        ) from error


def as_html(page: Page) -> str:
    """The page as one self-contained HTML file."""
    templates = environment(autoescape=True)
    script, _, _ = templates.loader.get_source(templates, "sort.js")  # pyright: ignore[reportOptionalMemberAccess]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates.get_template("report.html.j2").render(page=page, script=Markup(script), script_digest=digest)


def as_markdown(page: Page, *, figures: bool = False) -> str:
    """The page as Markdown, with `figures` with links to the picture files."""
    templates = environment(autoescape=False, finalize=_unmarked)
    text = templates.get_template("report.md.j2").render(page=page, figures=figures)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def evaluation_page(results: Row, source: str) -> Page:
    """The report of an evaluation."""
    results = upgraded(results)
    states, defense = states_of(results), results["defense"]
    return Page(
        title=title_of(results),
        lead=f"{_LEAD} This page says how often such guesses are right"
        f"{'' if defense is None else ', without a defense and with one'}.",
        subtitle=subtitle_of(results),
        banners=[*results["warnings"]],
        answers=answer_evaluation(results, states),
        scale=scale(states),
        plates=evaluation_plates(results, states),
        sheets=[
            attacker_sheet(results),
            checks_sheet((check, "") for check in results["checks"]),
            *risk_sheets(results),
            *target_sheets(results),
            *part_sheets(results),
            *canary_sheets(results),
            *cost_sheets(defense),
        ],
        threats=threat_models(results["threat_models"], results["attacks"]),
        attackers=known_attackers(attack["name"] for attack in results["attacks"]),
        left_out=not_run_by_reason(results["not_run"]),
        **how_to_repeat(results, ["evaluate"]),
        source=source,
    )


def title_of(results: Row) -> str:
    """The title of an evaluation: the user's, or the usual one."""
    if "outputs" in results["settings"]:
        return _titled(results, f"What the answers in {results['dataset']} reveal about the training data")
    return _titled(results, f"What a model trained on {results['dataset']} reveals about its training data")


def subtitle_of(results: Row) -> str:
    """What was evaluated, and with which seed."""
    defense = results["defense"]
    return _subtitle(results, [f"defense: {defense['name'] if defense is not None else 'none'}"])


def comparison_page(results: Row, source: str) -> Page:
    """The report of a comparison of defenses."""
    results = upgraded(results)
    contenders = results["contenders"]
    clean = contenders[0]
    best = min(contenders, key=lambda one: one["verdict"]["strongest_balanced_accuracy"])
    if len({percent(one["verdict"]["strongest_balanced_accuracy"]) for one in (clean, best)}) == 1:
        best = clean  # a difference that the shown digits do not have is none
    states = [("undefended", clean["verdict"])]
    if best is not clean:
        states.append((best["name"], best["verdict"]))
    about: dict[str, list[str]] = {}
    said: dict[str, Row] = {}
    for contender in contenders:
        for check in contender["checks"]:
            said.setdefault(check["name"], check)
            if not check["passed"]:
                about.setdefault(check["name"], []).append(called(contender["name"]))
                said[check["name"]] = check if len(about[check["name"]]) == 1 else said[check["name"]]
    checks = [(said[name], _about(about.get(name, ()), [called(one["name"]) for one in contenders])) for name in said]
    used = [name for contender in contenders if not contender["in_training"] for name in [contender["name"]]][1:]
    ways = [contender["name"] for contender in contenders if contender["in_training"]]
    ways += [left["name"] for left in results["not_run"] if left["knowledge"] == "training"]
    extra = [*(["--defenses", ",".join(used)] if used else []), *(["--training", ",".join(ways)] if ways else [])]
    return Page(
        title=_titled(results, f"Ways to defend a model trained on {results['dataset']}"),
        lead=f"{_LEAD} This page says how often such guesses are right behind each defense, and what it costs.",
        subtitle=_subtitle(results, [f"{number(len(contenders) - 1, 'way')} to defend"]),
        banners=[*results["warnings"]],
        answers=answer_comparison(results, [check for check, _ in checks], clean, best),
        scale=scale(states, "best defense"),
        plates=tradeoff_plates(contenders),
        sheets=[contender_sheet(contenders), matrix_sheet(contenders), checks_sheet(checks)],
        threats=threat_models(results["threat_models"], (a for contender in contenders for a in contender["attacks"])),
        attackers=known_attackers(attack["name"] for contender in contenders for attack in contender["attacks"]),
        left_out=not_run_by_reason(results["not_run"]),
        **how_to_repeat(results, ["compare", *extra]),
        source=source,
    )


def _subtitle(results: Row, more: Sequence[str]) -> str:
    settings = results["settings"]
    model = settings.get("model")
    what = [f"recorded outputs {settings['outputs']}"] if "outputs" in settings else []
    what = what or [f"data: {results['dataset']}", *([f"model: {model}"] if model else [])]
    evidence = results.get("evidence") or {}
    day = [evidence["created"][:10]] if evidence else []
    return " · ".join([*what, *more, f"seed {results['seed']}", *day])


def _titled(results: Row, usual: str) -> str:
    """The user's title, or the usual one."""
    return (results.get("evidence") or {}).get("title") or usual


def _about(names: Sequence[str], everyone: Sequence[str]) -> str:
    """The names that a failed check concerns; its finding is that of the first one."""
    others = [name for name in everyone if name not in names]
    few = len(others) < len(names)
    about = "all" if not others else f"all but {', '.join(others)}" if few else ", ".join(names)
    return "" if not names else names[0] if len(names) == 1 else f"{about}; for example {names[0]}"


def _unmarked(value: Any) -> Any:
    """A text with the special characters of Markdown and HTML escaped."""
    if isinstance(value, Markup):
        return str(value)
    text = re.sub(r"\s+", " ", str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def _verbatim(text: str) -> Markup:
    """A block of code in Markdown, indented so that no text in it can end the block."""
    return Markup("    " + re.sub(r"\s+", " ", text))


@functools.cache
def environment(*, autoescape: bool, finalize: Any = None) -> Environment:
    """The templates; `finalize` is applied to every value that they show."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalize,
    )
    found.filters["verbatim"] = _verbatim
    found.filters["code"] = lambda text: _in_code(text, html=autoescape)
    return found


def _in_code(text: str, *, html: bool) -> Markup:
    """A sentence whose commands in backquotes become code in HTML; all other text is escaped."""
    parts = re.split(r"`(mindefense [^`]*)`", text)
    if html:
        escaped = (Markup.escape(part) for part in parts)
        return Markup("".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(escaped)))
    return Markup("".join(str(_unmarked(part)) for part in parts))
