"""Commands on a study: the whole study at once, or stage by stage in one folder."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindefense.arguments import EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_STRICT, TRAINING
from mindefense.cli.outcome import Outcome
from mindefense.errors import InputError

if TYPE_CHECKING:
    from mindefense.types import Comparison

DEMO_ATTACKS = (
    "gap",
    "confidence",
    "entropy",
    "mindarmour-lr",
    "salem-top3",
    "shokri-label",
    "label-flips",
    "averaging-8",
    "lira",
    "bank-label",
    "bank",
)
"""One attack of each kind, all of them fast."""
_SHADOWS = 8
"""Models of the online bank where the study plans none and none are asked for."""
NEXT = (
    ("mindefense download location --to data/location", "real data"),
    ("mindefense run --data_path data/location", "a study of these data"),
    ("mindefense evaluate --outputs FILE --out DIR", "recorded answers of your own model"),
    ("python examples/your_model.py", "your own Cell, checkpoint and data set (docs/your_model.md)"),
    ("mindefense doctor", "check this machine"),
)
"""Commands that the demonstration suggests at its end."""


def demo(args: argparse.Namespace) -> Outcome:
    """Runs a study of synthetic rows, which takes about two minutes, and suggests what to do next."""
    from mindefense.cli.catalog import build_parser

    same = ["run", "--shadows", "4", "--attacks", ",".join(DEMO_ATTACKS)]
    outcome = run_study(argparse.Namespace(**{**vars(build_parser().parse_args(same)), **vars(args)}))
    say = args.screen.say
    say("\nnext:")
    for typed, meaning in (
        (f"open {Path(args.out) / 'report.html'}", "the results on one page, for all readers"),
        *NEXT,
    ):
        say(f"  {typed}\n      {meaning}")
    return outcome


def run_study(args: argparse.Namespace) -> Outcome:
    """Runs all stages of a study, shows the results and writes them; for arguments see `add_study_arguments`."""
    study = _new_study(args)
    evaluation = study.run(pre_trained=args.pre_trained, resume=args.resume, config=attackers(args), jobs=args.jobs)
    return save_and_show(study.out, evaluation, args)


def run_tutorial(args: argparse.Namespace) -> Outcome:
    """Runs MindArmour's tutorial, prints the tutorial's lines, and then shows the rest of the evaluation."""
    args.model, args.dataset = "vgg16", None if args.data_path is None else "cifar100"
    if not args.smoke:
        for name, wanted, fix in (
            ("data_path", "the folder of CIFAR-100", "fetch it with `mindefense download cifar100 --to DIR`"),
            ("pre_trained", "a checkpoint of VGG16", "train one with `mindefense train --model vgg16`"),
        ):
            if getattr(args, name) is None:
                raise InputError(f"--{name}", expected=wanted, got="none", fix=f"{fix}, or try --smoke")
    # Not the folder of `mindefense train`, which may hold the user's own training.
    args.out = args.out or os.path.join("runs", "tutorial" + ("-smoke" if args.smoke else ""))
    study = _new_study(args)
    evaluation = study.run(pre_trained=args.pre_trained, config=attackers(args), jobs=args.jobs)
    from mindefense.reports.console import tutorial_lines

    for line in tutorial_lines(evaluation):
        args.screen.say(line)
    outcome = save_and_show(study.out, evaluation, args)
    if args.defense == "none":
        args.screen.say("no defense was used; to see the effect of one: --defense defenmi")
    return outcome


def train(args: argparse.Namespace) -> Outcome:
    """Trains the target of a new study."""
    study = _new_study(args)
    if args.pre_trained:
        study.adopt_target(args.pre_trained)
    else:
        study.train_target(resume=args.resume)
    return _done(study, args, "target.ckpt")


def train_defender(args: argparse.Namespace) -> Outcome:
    """Trains the defender's classifier."""
    study = open_study(args)
    study.train_defender(resume=args.resume)
    return _done(study, args, "defender.ckpt")


def train_shadow(args: argparse.Namespace) -> Outcome:
    """Trains the attacker's shadow model."""
    study = open_study(args)
    study.train_shadow(resume=args.resume)
    return _done(study, args, "shadow.ckpt")


def train_shadows(args: argparse.Namespace) -> Outcome:
    """Trains the models of the banks that are missing."""
    study = open_study(args)
    sizes = study.config.bank_sizes(args.shadows)
    if not sizes["online"]:
        sizes = study.config.bank_sizes(_SHADOWS)
    if args.online or args.offline:
        kind = "offline" if args.offline else "online"
        sizes = {kind: args.shadows or sizes[kind] or _SHADOWS // 2}
    trained, there = [], []
    for kind, size in sizes.items():
        if size and (args.online or args.offline or study.bank.has_rows(kind)):
            new = study.train_shadows(kind, size, resume=args.resume, jobs=args.jobs)
            there.append(f"{study.bank.count(kind)} {kind} ({len(new)} new)")
            trained += new
    following = f"mindefense {study.next_stage} --out {study.out}"
    args.screen.say(f"shadow models in {study.out / 'shadows'}: {', '.join(there)}; next: {following}")
    return Outcome(wrote=tuple(trained), facts={"next": following})


def defend(args: argparse.Namespace) -> Outcome:
    """Fits the defense and reshapes the vectors of a study or of a recording."""
    if args.outputs is not None:
        from mindefense.cli.recorded import defend_recorded

        return defend_recorded(args)
    if idle := [name for name in ("defense", "key", "resume") if getattr(args, name)]:
        fix = "a study has its own defense and key"
        raise InputError(f"--{idle[0]}", expected="--outputs beside it", got="none", fix=fix)
    study = open_study(args)
    study.defend()
    return _done(study, args, "defense.ckpt", "defended.npz")


def evaluate(args: argparse.Namespace) -> Outcome:
    """Evaluates every attacker with and without the defense, on a study or on recorded outputs."""
    if args.outputs is not None:
        from mindefense.cli.recorded import evaluate_recorded

        return evaluate_recorded(args)
    if args.seed is not None:
        fix = "a study keeps the seed it began with"
        raise InputError("--seed", expected="--outputs beside it", got="none", fix=fix)
    study = open_study(args)
    return save_and_show(study.out, study.evaluate(attackers(args)), args)


def compare(args: argparse.Namespace) -> Outcome:
    """Compares many defenses on one target."""
    from mindefense.defenses.registry import LINEUP

    if args.outputs is not None:
        from mindefense.cli.recorded import compare_recorded

        return shown(compare_recorded(args), Path(args.out), args)
    if args.seed is not None:
        fix = "a study keeps the seed it began with"
        raise InputError("--seed", expected="--outputs beside it", got="none", fix=fix)
    study = open_study(args)
    from mindefense.study.compare import compare

    found = compare(study, args.defenses or LINEUP, training=args.training, config=attackers(args))
    return shown(found, study.out, args)


def shown(comparison: Comparison, out: Path, args: argparse.Namespace) -> Outcome:
    """Writes a comparison and shows it."""
    from mindefense.reports.console import print_comparison
    from mindefense.reports.report import write_report
    from mindefense.reports.results import comparison_to_json, write_comparison

    comparison = with_words(comparison, args)
    written = write_comparison(comparison, out)
    print_comparison(args.screen.console, comparison)
    held = comparison_to_json(comparison)
    pages = write_report(held, out)
    args.screen.say("wrote " + " and ".join(map(str, written)))
    args.screen.say(f"report: {pages[0]}")
    named = ("name", "in_training", "dominated_by", "utility", "verdict")
    contenders = [{name: contender[name] for name in named} for contender in held["contenders"]]
    marks = {name: held[name] for name in ("dataset", "synthetic", "smoke")}
    return Outcome(wrote=(*written, *pages), facts={**marks, "contenders": contenders})


def attackers(args: argparse.Namespace):
    """The attackers that the arguments name."""
    from mindefense.evaluation.attackers import ADVERSARIES, KNOWLEDGE
    from mindefense.evaluation.config import EvaluationConfig

    return EvaluationConfig(
        attacks=args.attacks,
        knowledge=KNOWLEDGE if args.knowledge == "all" else (args.knowledge,),
        adversary=ADVERSARIES if args.adversary == "both" else (args.adversary,),
        noise=args.noise,
        max_queries=args.max_queries,
        targets=getattr(args, "targets", 0),
    )


def save_and_show(out: str | os.PathLike[str], evaluation, args: argparse.Namespace) -> Outcome:
    """Writes an evaluation and shows it; the outcome has its exit code."""
    from mindefense.reports.console import print_evaluation
    from mindefense.reports.results import attackers_written, to_json
    from mindefense.reports.save import save_evaluation

    screen = args.screen
    policy = policy_of(args)
    if policy is not None:
        evaluation = dataclasses.replace(evaluation, ruling=policy.rule(evaluation))
    evaluation = with_words(evaluation, args)
    before = attackers_written(out)
    written = save_evaluation(evaluation, out)
    print_evaluation(screen.console, evaluation)
    if gone := before - {result.name for result in evaluation.attacks}:
        listed = ", ".join(sorted(gone)[:4]) + (f" and {len(gone) - 4} more" if len(gone) > 4 else "")
        screen.say(f"replaced the results of {len(before)} attackers in {out}; this run is without {listed}")
    screen.say("wrote " + ", ".join(str(path) for path in written if not path.name.startswith("report.")))
    screen.say(f"report: {Path(out) / 'report.html'}")
    failed = [check.name for check in evaluation.checks if not check.passed]
    exceeded = [] if policy is None else [line for gate in policy.gates if (line := gate.exceeded(evaluation))]
    ruling = evaluation.ruling
    inconclusive = ruling is not None and ruling.outcome == "INCONCLUSIVE"
    if args.strict and failed:
        screen.warn(f"--strict: {len(failed)} checks failed: {', '.join(failed)}")
    if ruling is not None and ruling.reasons:
        word = "INCONCLUSIVE" if inconclusive else "besides"
        screen.warn(f"{ruling.policy}: {word}: {'; '.join(ruling.reasons)}")
    if exceeded and ruling is not None:
        screen.warn(f"{ruling.policy}: {'; '.join(exceeded)}")
    held = to_json(evaluation) if screen.for_machines else {}
    facts = {name: held[name] for name in ("dataset", "synthetic", "smoke", "verdict", "ruling", "warnings")
             if name in held}  # fmt: skip
    facts |= {"checks_failed": failed, "gates_exceeded": exceeded}
    # An exceeded limit counts even if checks failed or the ruling is inconclusive.
    if exceeded:
        code = EXIT_GATE
    elif args.strict and failed:
        code = EXIT_STRICT
    else:
        code = EXIT_INCONCLUSIVE if inconclusive else 0
    return Outcome(code, written, facts)


def with_words(found, args: argparse.Namespace):
    """The evaluation or comparison with the user's title, note and command in its evidence."""
    evidence = found.evidence
    if evidence is None:
        return found
    words = {name: getattr(args, name, None) or None for name in ("title", "note")}
    return dataclasses.replace(
        found, evidence=dataclasses.replace(evidence, **words, command=getattr(args, "typed", None))
    )


def policy_of(args: argparse.Namespace):
    """The limits of --policy and --fail_above together; None without either."""
    from mindefense.evaluation.policy import Policy

    gates = tuple(dataclasses.replace(gate, by=args.fail_by) for gate in args.fail_above)
    if args.policy is None:
        return Policy("--fail_above", gates) if gates else None
    if not gates:
        return args.policy
    return dataclasses.replace(
        args.policy, name=f"{args.policy.name}, --fail_above", gates=(*args.policy.gates, *gates)
    )


def use_device(args: argparse.Namespace) -> str:
    """Chooses the device that the arguments ask for; returns its kind."""
    from mindefense.runtime import use_device

    return use_device(args.device_target, device_id=args.device_id, tell=args.screen.warn)


def open_study(args: argparse.Namespace):
    """The study whose folder is ``--out``."""
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise InputError("--out", expected="the folder of a study", got=f"the file {args.out}", fix="name its folder")
    if not (out / "study.json").is_file():
        fix = f"run `mindefense train --out {args.out}` first" + (", or check the spelling" * out.exists())
        raise InputError(f"no study in {args.out}", fix=fix)
    return _open_study(None, args.out, args)


def _done(study, args: argparse.Namespace, *names: str) -> Outcome:
    """Prints the files that a stage has written and the next stage."""
    following = f"mindefense {study.next_stage} --out {study.out}"
    args.screen.say(f"wrote {' and '.join(names)} in {study.out}; next: {following}")
    return Outcome(wrote=tuple(study.out / name for name in names), facts={"next": following})


def _new_study(args: argparse.Namespace):
    """The study that the arguments describe; wrong paths are reported before MindSpore is loaded."""
    given = {**dict.fromkeys(("model", "dataset", "split_config", "split_section", "members")), **vars(args)}
    for name in ("data_path", "pre_trained", "split_config"):
        if given[name] is not None and not Path(given[name]).exists():
            raise InputError(f"--{name}", expected="an existing path", got=given[name], fix="check its spelling")
    idle = [name for name in TRAINING if args.pre_trained and given.get(name)]
    if idle:
        raise InputError(f"--{idle[0]}", expected="no --pre_trained beside it", got=args.pre_trained, fix="drop one")
    given |= _trained_as(given)
    real = "cifar100" if given["model"] == "vgg16" else "location"
    dataset = given["dataset"] or ("synthetic" if args.data_path is None else real)
    given |= {"dataset": dataset, "model": given["model"] or ("vgg16" if dataset == "cifar100" else "mlp")}
    if dataset == "synthetic" and args.data_path is not None:
        raise InputError("--dataset synthetic", expected="no --data_path", got=args.data_path)
    if dataset != "synthetic" and args.data_path is None:
        raise InputError("--data_path", expected=f"the folder or file of {dataset}", got="none")
    for name in ("data_path", "split_config", "members"):
        if isinstance(given[name], str):
            given[name] = os.path.abspath(given[name])
    out = args.out or os.path.join("runs", dataset + ("-smoke" if args.smoke else ""))
    return _open_study(given, out, args)


def _trained_as(given: Mapping[str, Any]) -> dict[str, float]:
    """The settings that ``--training`` names."""
    from mindefense.defenses.registry import parse_ways

    found: dict[str, float] = {}
    for way in parse_ways(given.get("training") or ()):
        if way.is_private:
            fix = "use dp=EPSILON, or compare it: `mindefense compare --training`"
            raise InputError("--training", expected="a way that every device has", got=str(way), fix=fix)
        for name, value in way.settings.items():
            if given.get(name) is not None:
                fix = "drop one of them"
                raise InputError(
                    f"--training {way}", expected=f"no --{name} beside it", got=f"{given[name]:g}", fix=fix
                )
            found[name] = value
    return found


def _open_study(given, out, args: argparse.Namespace):
    from mindefense.reports.console import print_opening
    from mindefense.study.config import StudyConfig, smoke_sizes
    from mindefense.study.pipeline import Study
    from mindefense.study.provenance import settings_of
    from mindefense.study.registry import IMAGES
    from mindefense.study.roles import roles_in_words

    device = use_device(args)
    config = None
    if given is not None:
        pre_trained = given.get("pre_trained")
        if pre_trained and given["model"] == "vgg16":
            asked = {name: value for name, value in given.items() if value is not None}
            found = {name: value for name, value in settings_of(pre_trained).items() if name not in asked}
            if found:
                listed = ", ".join(f"{name} {value:g}" for name, value in found.items())
                args.screen.say(f"settings taken from {os.path.basename(pre_trained)}: {listed}")
            given = {**found, **asked}
        settings = {field.name for field in dataclasses.fields(StudyConfig)}
        chosen = {name: value for name, value in given.items() if name in settings and value is not None}
        config = StudyConfig(**smoke_sizes(chosen, pre_trained=bool(pre_trained)))
    study = Study(config, out, progress=args.screen.progress, amp=args.amp, crew=args.crew)
    takes_images = study.config.samples == IMAGES
    print_opening(
        args.screen.console,
        dataset=study.data.name,
        synthetic=study.data.synthetic,
        smoke=study.config.smoke,
        device=device if args.amp == "O0" else f"{device} in float16",
        seed=study.config.seed,
        parity=study.config.parity if takes_images else None,
        roles=roles_in_words(study.config, study.data, study.split) if takes_images else (),
        is_assumed=bool(given and given.get("pre_trained")) and study.config.members is None,
    )
    return study
