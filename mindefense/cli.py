"""The command line: arguments in, one public function, a report out.

Nothing here imports MindSpore before the arguments are known to be good, so that help and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mindefense import __version__
from mindefense.arguments import (
    EXIT_GATE,
    EXIT_STRICT,
    EXIT_UNFIT,
    TRAINING,
    Parser,
    add_attacker_arguments,
    add_bulk_arguments,
    add_common_arguments,
    add_comparison_arguments,
    add_doctor_arguments,
    add_evaluation_arguments,
    add_export_arguments,
    add_image_arguments,
    add_recorded_arguments,
    add_report_arguments,
    add_shared_arguments,
    add_study_arguments,
    add_training_arguments,
)
from mindefense.errors import InputError, MindefenseError

STAGES = {
    "run": "all stages, one after the other",
    "train": "the target model → target.ckpt",
    "train-defender": "the defender's classifier → defender.ckpt",
    "train-shadow": "the attacker's shadow model → shadow.ckpt",
    "defend": "the defense and the reshaped vectors → defense.ckpt, defended.npz",
    "evaluate": "every attacker before and after → results.json, report.html, attacks.csv, records.csv",
    "compare": "many defenses on one target → comparison.json, comparison.html, comparison.csv",
    "export": "target and defense as one graph → guarded.mindir, guarded.json, guarded.key",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0 done, 1 a problem that ``doctor`` found, 2 a mistake of the user's, 3 a doubt with ``--strict``, 4 a figure above
    ``--fail-above``, 130 interrupted.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    return guarded(args.command, args, prog=parser.prog)


def guarded(
    work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace, *, prog: str = "mindefense"
) -> int:
    """Runs `work` and returns its exit code; an error the user can mend becomes one line and 2, unless ``--debug``.

    With ``--distributed`` only rank 0 runs it; the other ranks do what it asks of them.
    """
    try:
        if getattr(args, "distributed", False):
            return _distributed(work, args) or 0
        if "MS_ROLE" in os.environ:  # each of its processes would do the whole work, into one folder
            raise InputError("msrun", expected="--distributed among the arguments", got="none", fix="add it")
        return work(args) or 0
    except MindefenseError as error:
        if args.debug:
            raise
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        kept = str(stop) or "trainings go on with --resume from the last checkpoint that was written, if one was"
        print(f"{prog}: interrupted; {kept}", file=sys.stderr)
        return 130


def _distributed(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int | None:
    """Runs `work` on rank 0 and does, on the others, what it asks."""
    from mindefense.ranks import join_crew

    if args.device_id is not None:
        fix = "msrun gives each rank its own"
        raise InputError("--device_id", expected="none with --distributed", got=str(args.device_id), fix=fix)
    crew = join_crew(lambda: _use_device(args))
    if not crew.leads:
        from mindefense.evaluation.shared import jobs_of

        crew.follow(jobs_of(crew))
        return 0
    args.crew = crew
    try:
        code = work(args)
    except MindefenseError:
        crew.dismiss()
        raise
    except BaseException:
        crew.abandon()
        raise
    crew.dismiss()
    return code


def _use_device(args: argparse.Namespace) -> str:
    from mindefense.runtime import use_device

    def tell(line: str) -> None:
        print(f"mindefense: {line}", file=sys.stderr)

    return use_device(args.device_target, device_id=args.device_id, tell=tell)


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="mindefense",
        description="How much does a model tell about its training data, and what does a defense change?",
        epilog="example: mindefense run --data_path data/location --out runs/location",
    )
    parser.add_argument("--version", action="version", version=f"mindefense {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in STAGES.items():
        stage = commands.add_parser(name, help=text, description=text)
        if name in ("run", "train"):
            add_study_arguments(stage)
            add_training_arguments(stage)
            add_image_arguments(stage)
            stage.set_defaults(command=run_study if name == "run" else _train)
        else:
            add_common_arguments(stage, shares=name in ("defend", "evaluate", "compare"))
            folder = "folder of the study (see mindefense train)"
            if name in ("defend", "evaluate"):
                folder += ", or with --outputs any folder for what is written"
            stage.add_argument("--out", required=True, metavar="DIR", help=folder)
            stage.set_defaults(command=_stage, stage=name)
        if name in ("run", "evaluate"):
            add_evaluation_arguments(stage)
        if name == "evaluate":
            add_recorded_arguments(stage)
        if name == "defend":
            add_bulk_arguments(stage)
        if name == "compare":
            add_attacker_arguments(stage)
            add_comparison_arguments(stage)
        if name == "export":
            add_export_arguments(stage)
        if name in ("train-defender", "train-shadow"):
            stage.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    text = "what a results or comparison file says, on one page for everybody → report.html, report.md"
    render = commands.add_parser("report", help=text, description=text)
    add_report_arguments(render)
    render.set_defaults(command=_render)
    fetch = commands.add_parser("download", help="fetch a public data set", description="fetch a public data set")
    fetch.add_argument("name", choices=("location", "cifar100"), help="data set")
    fetch.add_argument("--to", required=True, metavar="DIR", help="folder to put it into")
    add_shared_arguments(fetch)
    fetch.set_defaults(command=_download)
    text = "whether all that is needed is here and fits together"
    doctor = commands.add_parser("doctor", help=text, description=text)
    add_doctor_arguments(doctor)
    doctor.set_defaults(command=_doctor)
    return parser


def run_tutorial(args: argparse.Namespace) -> int:
    """What MindArmour's tutorial does, with its lines on the screen, and then the rest of an evaluation."""
    args.model, args.dataset = "vgg16", None if args.data_path is None else "cifar100"
    if not args.smoke:
        for name, wanted, fix in (
            ("data_path", "the folder of CIFAR-100", "fetch it with `mindefense download cifar100 --to DIR`"),
            ("pre_trained", "a checkpoint of VGG16", "train one with `mindefense train --model vgg16`"),
        ):
            if getattr(args, name) is None:
                raise InputError(f"--{name}", expected=wanted, got="none", fix=f"{fix}, or try --smoke")
    # A folder of its own: a training of one's own may lie in that of `mindefense train`.
    args.out = args.out or os.path.join("runs", "tutorial" + ("-smoke" if args.smoke else ""))
    study = _new_study(args)
    evaluation = study.run(pre_trained=args.pre_trained, config=_attackers(args))
    from mindefense.reports.console import tutorial_lines

    for line in tutorial_lines(evaluation):
        print(line)
    code = _report(study.out, evaluation, args)
    if args.defense == "none":
        print("nothing was defended; to see what a defense changes: --defense defenmi")
    return code


def run_study(args: argparse.Namespace) -> int:
    """All stages of a study, as `add_study_arguments` describes it, with what is seen and written."""
    study = _new_study(args)
    evaluation = study.run(pre_trained=args.pre_trained, resume=args.resume, config=_attackers(args))
    return _report(study.out, evaluation, args)


def _train(args: argparse.Namespace) -> None:
    study = _new_study(args)
    if args.pre_trained:
        study.adopt_target(args.pre_trained)
    else:
        study.train_target(resume=args.resume)
    print(f"wrote {study.out / 'target.ckpt'}; next: mindefense {_following(study, 'train')} --out {study.out}")


def _stage(args: argparse.Namespace) -> int:
    if args.stage == "evaluate" and args.outputs is not None:
        return _evaluate_outputs(args)
    if args.stage == "defend" and args.outputs is not None:
        return _defend_outputs(args)
    if args.stage == "defend" and (idle := [name for name in ("defense", "key", "resume") if getattr(args, name)]):
        fix = "a study has its own defense and key"
        raise InputError(f"--{idle[0]}", expected="--outputs beside it", got="none", fix=fix)
    if args.stage == "evaluate" and args.seed is not None:
        raise InputError(
            "--seed", expected="--outputs beside it", got="none", fix="a study keeps the seed it began with"
        )
    if not (Path(args.out) / "study.json").is_file():
        raise InputError(f"no study in {args.out}", fix=f"run `mindefense train --out {args.out}` first")
    study = _open_study(None, args.out, args)
    if args.stage == "evaluate":
        return _report(study.out, study.evaluate(_attackers(args)), args)
    if args.stage == "compare":
        _compare(study, args)
        return 0
    if args.stage == "export":
        _export(study, args)
        return 0
    work, written = {
        "train-defender": (lambda: study.train_defender(resume=args.resume), "defender.ckpt"),
        "train-shadow": (lambda: study.train_shadow(resume=args.resume), "shadow.ckpt"),
        "defend": (study.defend, "defense.ckpt and defended.npz"),
    }[args.stage]
    work()
    print(f"wrote {written} in {study.out}; next: mindefense {_following(study, args.stage)} --out {study.out}")
    return 0


def _evaluate_outputs(args: argparse.Namespace) -> int:
    """The evaluation of recorded outputs."""
    from rich.console import Console

    from mindefense.data.outputs import load_outputs
    from mindefense.evaluation.recorded import evaluate_outputs
    from mindefense.files import check_writable
    from mindefense.reports.console import ConsoleProgress

    config = _attackers(args)
    if args.knowledge == "shadow":
        raise InputError("--knowledge shadow", expected="a model", got="recorded outputs", fix="auditors need none")
    if args.noise == "fresh":
        raise InputError("--noise fresh", expected="a model", got="recorded outputs", fix="they answer once")
    outputs = load_outputs(args.outputs)
    check_writable(args.out)
    evaluation = evaluate_outputs(
        outputs,
        attacks=config.attacks,
        adversary=config.adversary,
        seed=args.seed or 0,
        progress=ConsoleProgress(Console()),
    )
    return _report(Path(args.out), evaluation, args)


def _defend_outputs(args: argparse.Namespace) -> int:
    """Recorded confidence vectors of any number behind a defense."""
    from rich.console import Console

    from mindefense.data.vectors import open_vectors
    from mindefense.evaluation.lineup import DefenseSpec
    from mindefense.keyed import read_key
    from mindefense.reports.console import ConsoleProgress

    idle = {"device_target": ("auto", "CPU"), "amp": ("O0",), "device_id": (None,), "distributed": (False,)}
    for name, usual in idle.items():
        if getattr(args, name) not in usual:
            got = str(getattr(args, name))
            raise InputError(f"--{name}", expected="none with --outputs, which runs on the CPU", got=got, fix="drop it")
    vectors = open_vectors(args.outputs)
    key = None if args.key is None else read_key(args.key)
    named = args.defense or os.path.join(args.out, "defense.ckpt")
    is_file = named.endswith(".ckpt")
    if is_file and not Path(named).is_file():
        fix = "give --defense FILE.ckpt, or one that needs no fitting, such as rounding=1"
        raise InputError("--defense", expected="the file of a defense", got=f"no {named}", fix=fix)
    from mindefense.defenses.bulk import OUTPUT, check_fit, defend_vectors, rows_done
    from mindefense.defenses.defended import load_defense

    defense = load_defense(named) if is_file else DefenseSpec.parse_unfitted(named).build_unfitted(vectors.classes)
    check_fit(vectors, defense, key)
    progress, rows = ConsoleProgress(Console()), len(vectors)
    with progress.stage("check", rows) as advance:
        sha256 = vectors.check(noised=defense.noise_scale > 0, on_progress=lambda done: advance(done, ""))
        advance(0, f"{rows:,} rows × {vectors.classes} classes")
    began = time.perf_counter()
    try:
        with progress.stage("defend", rows) as advance:
            tally = defend_vectors(
                vectors,
                defense,
                args.out,
                key=key,
                resume=args.resume,
                sha256=sha256,
                on_progress=lambda done: advance(done, defense.name),
            )
    except KeyboardInterrupt:
        done = rows_done(args.out)
        kept = f"{done:,} of {rows:,} rows are done and kept in {args.out}; the same command with --resume goes on"
        raise KeyboardInterrupt(kept if done else "no chunk was done, so there is nothing to go on with") from None
    new, seconds = tally.rows - tally.resumed, time.perf_counter() - began
    earlier = f", {tally.resumed:,} by an earlier run" if tally.resumed else ""
    print(f"rows: {rows:,}{earlier}" + (f"; {new / seconds:,.0f} rows/s" if new else ""))
    search = f"; {tally.fallbacks:,} rows on which the search found nothing" if tally.fallbacks else ""
    print(f"labels changed: {tally.labels_changed:,}; mean L1 distance {tally.mean_l1:.4f}{search}")
    if tally.rescaled:
        print(f"{tally.rescaled:,} rows whose sum was off by rounding were divided by it first")
    print(f"wrote {Path(args.out) / OUTPUT}")
    return 0


def _attackers(args: argparse.Namespace):
    """Who attacks, as the arguments say."""
    from mindefense.evaluation.audit import ADVERSARIES, KNOWLEDGE, EvaluationConfig

    return EvaluationConfig(
        attacks=args.attacks,
        knowledge=KNOWLEDGE if args.knowledge == "both" else (args.knowledge,),
        adversary=ADVERSARIES if args.adversary == "both" else (args.adversary,),
        noise=args.noise,
        max_queries=args.max_queries,
    )


def _compare(study, args: argparse.Namespace) -> None:
    from rich.console import Console

    from mindefense.evaluation.compare import compare
    from mindefense.evaluation.lineup import LINEUP
    from mindefense.reports.console import print_comparison
    from mindefense.reports.report import write_report
    from mindefense.reports.results import comparison_to_json, write_comparison

    comparison = compare(study, args.defenses or LINEUP, training=args.training, config=_attackers(args))
    written = write_comparison(comparison, study.out)
    print_comparison(Console(), comparison)
    html, _ = write_report(comparison_to_json(comparison), study.out)
    print("wrote " + " and ".join(str(path) for path in written))
    print(f"report: {html}")


def _export(study, args: argparse.Namespace) -> None:
    """Target and defense as one graph, with a key beside it if something is drawn."""
    from mindefense.files import check_writable
    from mindefense.keyed import read_key, write_key
    from mindefense.serving import export_guarded
    from mindefense.serving.manifest import files_of, sha256_of_file

    is_name = not os.path.dirname(args.file_name)
    graph, manifest, key = files_of(study.out / args.file_name if is_name else args.file_name)
    key = Path(args.key) if args.key is not None else key
    net, defense, sources = study.guard(args.defense)
    draws = defense is not None and defense.is_random
    if args.key is not None and not draws:
        got = "none" if defense is None else defense.name
        raise InputError("--key", expected="a defense that draws, such as defenmi", got=got, fix="drop it")
    if draws and key.exists():
        read_key(key)  # a bad one must show before the work
    elif draws:
        check_writable(key.parent)
    prepared = None if study.recipe.prepare is None else repr(study.recipe.prepare)
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
    print(f"exported {made.defense or 'the bare target, without a defense'}" + " in float16" * (made.amp != "O0"))
    print(f"wrote {graph} and {manifest}")
    if made.most_passes is not None:
        is_bounded = made.config["max_steps"] is not None
        advice = "; a study that is run with --max_steps 300 is bounded, and judged so"
        print(f"a query takes at most {made.most_passes} passes of the search" + advice * (not is_bounded))
    if made.is_random and key.exists():
        print(f"kept {key}: the same query keeps its answer")
    elif made.is_random:
        write_key(key)
        print(f"wrote {key}")
    if made.is_random:
        print(f"keep {key.name} apart from the other two, and from everybody: who has it knows all that is drawn")
    print("to load it:")
    print("    from mindefense import GuardedModel")
    secret = f', key="{key}"' if made.is_random else ""
    print(f'    guarded = GuardedModel.load("{graph.with_suffix("")}"{secret})')
    of = f" made by {prepared}" if prepared else ""
    print(f"    log_probs = guarded.query(x)  # x: (N, {', '.join(map(str, made.input_shape))}) float32{of}")


def _following(study, stage: str) -> str:
    """The next stage that this study has."""
    passed_over = set() if study.recipe.has_shadow else {"train-shadow"}
    passed_over |= set() if study.needs_defender else {"train-defender"}
    passed_over |= {"defend"} if study.config.defense == "none" else set()
    names = list(STAGES)
    return next(name for name in names[names.index(stage) + 1 :] if name not in passed_over)


def _new_study(args: argparse.Namespace):
    """The study that the arguments describe; wrong paths show before MindSpore is loaded."""
    given = {**dict.fromkeys(("model", "dataset", "split_config", "split_section", "members")), **vars(args)}
    for name in ("data_path", "pre_trained", "split_config"):
        if given[name] is not None and not Path(given[name]).exists():
            raise InputError(f"--{name}", expected="an existing path", got=given[name], fix="check its spelling")
    idle = [name for name in TRAINING if args.pre_trained and given.get(name)]
    if idle:
        raise InputError(f"--{idle[0]}", expected="no --pre_trained beside it", got=args.pre_trained, fix="drop one")
    real = "cifar100" if given["model"] == "vgg16" else "location"
    dataset = given["dataset"] or ("synthetic" if args.data_path is None else real)
    given |= {"dataset": dataset, "model": given["model"] or ("vgg16" if dataset == "cifar100" else "mlp")}
    if dataset == "synthetic" and args.data_path is not None:
        raise InputError("--dataset synthetic", expected="no --data_path", got=args.data_path)
    if dataset != "synthetic" and args.data_path is None:
        raise InputError("--data_path", expected=f"the folder or file of {dataset}", got="none")
    for name in ("data_path", "split_config"):
        given[name] = given[name] and os.path.abspath(given[name])
    out = args.out or os.path.join("runs", dataset + ("-smoke" if args.smoke else ""))
    return _open_study(given, out, args)


def _open_study(given, out, args):
    from rich.console import Console

    from mindefense.evaluation.config import StudyConfig, smoke_sizes
    from mindefense.evaluation.provenance import settings_of
    from mindefense.evaluation.study import Study
    from mindefense.reports.console import ConsoleProgress, print_opening

    device = _use_device(args)
    console = Console()
    config = None
    if given is not None:
        pre_trained = given.get("pre_trained")
        if pre_trained and given["model"] == "vgg16":
            given = {**settings_of(pre_trained), **{name: value for name, value in given.items() if value is not None}}
        settings = {field.name for field in dataclasses.fields(StudyConfig)}
        chosen = {name: value for name, value in given.items() if name in settings and value is not None}
        config = StudyConfig(**smoke_sizes(chosen, pre_trained=bool(pre_trained)))
    study = Study(config, out, progress=ConsoleProgress(console), amp=args.amp, crew=args.crew)
    print_opening(
        console,
        dataset=study.data.name,
        synthetic=study.data.synthetic,
        smoke=study.config.smoke,
        device=device if args.amp == "O0" else f"{device} in float16",
        seed=study.config.seed,
        parity=study.config.parity if study.config.model == "vgg16" else None,
    )
    return study


def _report(out: Path, evaluation, args: argparse.Namespace) -> int:
    """Writes and prints an evaluation; returns the exit code it deserves."""
    from rich.console import Console

    from mindefense.reports.console import print_evaluation
    from mindefense.reports.report import write_report
    from mindefense.reports.results import to_json, write_results

    written = write_results(evaluation, out)
    print_evaluation(Console(), evaluation)
    html, _ = write_report(to_json(evaluation), out)
    print("wrote " + ", ".join(str(path) for path in written))
    print(f"report: {html}")
    failed = [check.name for check in evaluation.checks if not check.passed]
    exceeded = [line for gate in args.fail_above if (line := gate.exceeded(evaluation))]
    if args.strict and failed:
        print(f"mindefense: --strict: {len(failed)} checks failed: {', '.join(failed)}", file=sys.stderr)
    if exceeded:
        print(f"mindefense: --fail-above: {'; '.join(exceeded)}", file=sys.stderr)
        return EXIT_GATE  # a leak that was found is one, whatever the doubts
    return EXIT_STRICT if args.strict and failed else 0


def _render(args: argparse.Namespace) -> None:
    from mindefense.reports.report import read_results, write_report

    results = read_results(args.results)
    out = Path(args.results).parent if args.out is None else args.out
    written = write_report(results, out, figures=args.figures, source=Path(args.results).name)
    print("wrote " + ", ".join(str(path) for path in written))


def _download(args: argparse.Namespace) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from mindefense.data.download import download

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns) as bars:
        task = bars.add_task(args.name, total=None)
        path = download(args.name, args.to, progress=lambda done, total: bars.update(task, completed=done, total=total))
    print(f"wrote {path}")


def _doctor(args: argparse.Namespace) -> int:
    """Works where MindSpore, or anything else, cannot be imported."""
    from mindefense.doctor import PROBLEM, examine

    if sys.stderr.isatty():
        print("mindefense: trying imports and devices, which takes some ten seconds", file=sys.stderr)
    findings = examine(data_path=args.data_path)
    problems = [finding for finding in findings if finding.state == PROBLEM]
    if args.json:
        held = {"fit": not problems, "findings": [dataclasses.asdict(finding) for finding in findings]}
        print(json.dumps(held, indent=2, ensure_ascii=False))
    else:
        from mindefense.reports.checkup import print_findings

        print_findings(findings)
    return EXIT_UNFIT if problems else 0


if __name__ == "__main__":
    sys.exit(main())
