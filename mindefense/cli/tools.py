"""Commands that are no stages of a study: export, reports of earlier results, data, the doctor, shell completion."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from mindefense.arguments import EXIT_GATE, EXIT_UNFIT
from mindefense.cli.outcome import Outcome
from mindefense.cli.studies import open_study
from mindefense.errors import InputError


def export(args: argparse.Namespace) -> Outcome:
    """Exports target and defense as one graph, and the key of a randomized defense."""
    study = open_study(args)
    from mindefense.files import check_writable, sha256_of_file
    from mindefense.keyed_noise import read_key, write_key
    from mindefense.serving import export_guarded
    from mindefense.serving.manifest import files_of

    say = args.screen.say
    is_name = not os.path.dirname(args.file_name)
    graph, manifest, key = files_of(study.out / args.file_name if is_name else args.file_name)
    key = Path(args.key) if args.key is not None else key
    net, defense, sources = study.guard(args.defense)
    draws = defense is not None and defense.is_random
    if args.key is not None and not draws:
        got = "none" if defense is None else defense.name
        raise InputError("--key", expected="a randomized defense, such as defenmi", got=got, fix="drop it")
    if draws and key.exists():
        read_key(key)  # so that a bad key is reported before the export
    elif draws:
        check_writable(key.parent)
    prepared = None if study.preset.prepare is None else repr(study.preset.prepare)
    made = export_guarded(
        net,
        defense,
        graph,
        input_shape=study.input_shape,
        batch_size=args.batch_size,
        prepared=prepared,
        amp=study.amp,
        sources={path.name: sha256_of_file(path) for path in sources},
    )
    say(f"exported {made.defense or 'the bare target, without a defense'}" + " in float16" * (made.amp != "O0"))
    say(f"wrote {graph} and {manifest}")
    if made.most_passes is not None:
        is_bounded = made.config["max_steps"] is not None
        advice = "; to bound it, run and evaluate the study with --max_steps 300"
        say(f"a query takes at most {made.most_passes} passes of the search" + advice * (not is_bounded))
    wrote = [graph, manifest]
    if made.is_random and key.exists():
        say(f"kept the existing {key}: the same query keeps its answer")
    elif made.is_random:
        write_key(key)
        wrote.append(key)
        say(f"wrote {key}")
    if made.is_random:
        say(f"keep {key.name} secret and apart from the other two: it determines all random numbers of the defense")
    say("to load it:")
    say("    from mindefense import GuardedModel")
    secret = f', key="{key}"' if made.is_random else ""
    say(f'    guarded = GuardedModel.load("{graph.with_suffix("")}"{secret})')
    of = f" made by {prepared}" if prepared else ""
    say(f"    log_probs = guarded.query(x)  # x: (N, {', '.join(map(str, made.input_shape))}) float32{of}")
    facts = {"defense": made.defense, "key": str(key) if made.is_random else None, "most_passes": made.most_passes}
    return Outcome(wrote=tuple(wrote), facts=facts)


def report(args: argparse.Namespace) -> Outcome:
    """Writes the report of an earlier run."""
    from mindefense.reports.report import read_results, write_report

    file = Path(args.results)
    if file.is_dir():  # the folder of a study or of an evaluation
        file /= "results.json"
    results = read_results(file)
    out = file.parent if args.out is None else args.out
    written = write_report(results, out, figures=args.figures, source=file.name)
    args.screen.say("wrote " + ", ".join(map(str, written)))
    return Outcome(wrote=tuple(written))


def diff(args: argparse.Namespace) -> Outcome:
    """Shows the changes between two results."""
    from mindefense.evaluation.differences import differences, read_records
    from mindefense.reports.console import print_differences
    from mindefense.reports.report import read_results
    from mindefense.reports.upgrade import upgraded

    files = [path / "results.json" if path.is_dir() else path for path in map(Path, (args.old, args.new))]
    held = [upgraded(read_results(file)) for file in files]
    for file, results in zip(files, held, strict=True):
        if "contenders" in results:
            raise InputError(str(file), expected="the results of an evaluation", got="a comparison")
    beside = [file.with_name("records.csv") for file in files]
    records = None
    if all(path.is_file() for path in beside):
        records = read_records(beside[0]), read_records(beside[1])
    found = differences(*held, records=records)
    print_differences(args.screen.console, found, [str(file) for file in files], held)
    rose = [f"{one.attack[0]}: {one.figure}" for one in found.more]
    if args.fail_on_rise and rose:
        args.screen.warn(f"--fail_on_rise: {len(rose)} figures are significantly higher: {', '.join(rose[:5])}")
    facts = dataclasses.asdict(found) | {"more": len(found.more), "less": len(found.less)}
    return Outcome(EXIT_GATE if args.fail_on_rise and rose else 0, facts=facts)


def download(args: argparse.Namespace) -> Outcome:
    """Downloads a public data set."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from mindefense.data.download import download

    console = args.screen.console
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(args.name, total=None)
        path = download(args.name, args.to, progress=lambda done, total: bars.update(task, completed=done, total=total))
    args.screen.say(f"wrote {path}")
    return Outcome(wrote=(path,))


def doctor(args: argparse.Namespace) -> Outcome:
    """Checks the installation; works even if MindSpore or another package cannot be imported."""
    from mindefense.doctor import PROBLEM, examine
    from mindefense.reports.checkup import print_findings

    if sys.stderr.isatty():
        args.screen.warn("trying imports and devices, which takes about ten seconds")
    findings = examine(data_path=args.data_path)
    problems = [finding for finding in findings if finding.state == PROBLEM]
    print_findings(findings, file=sys.stderr if args.screen.for_machines else sys.stdout)
    facts = {"fit": not problems, "findings": [dataclasses.asdict(finding) for finding in findings]}
    return Outcome(EXIT_UNFIT if problems else 0, facts=facts)


def completion(args: argparse.Namespace) -> Outcome:
    """Prints the script that completes commands, options, their values and files in a shell."""
    import shtab

    from mindefense.cli.catalog import build_parser

    files = {"DIR": shtab.DIRECTORY, **dict.fromkeys(("FILE", "PATH", "CKPT", "FILE|NAME"), shtab.FILE)}
    parser = build_parser()
    for action in _options_of(parser):
        if isinstance(action.metavar, str) and action.metavar in files:
            action.complete = files[action.metavar]  # type: ignore[attr-defined]  # read by shtab
    print(shtab.complete(parser, shell=args.shell))
    return Outcome()


def _options_of(parser: argparse.ArgumentParser):
    """Options of a parser and of all its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _options_of(command)
        else:
            yield action
