"""Commands on recorded answers: their evaluation, the comparison of defenses for them, and their defense."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mindefense.cli.outcome import Outcome
from mindefense.cli.studies import attackers, save_and_show
from mindefense.errors import DataError, InputError

if TYPE_CHECKING:
    from mindefense.defenses.registry import DefenseSpec
    from mindefense.evaluation.config import EvaluationConfig
    from mindefense.types import Comparison


def evaluate_recorded(args: argparse.Namespace) -> Outcome:
    """Evaluates recorded outputs."""
    from mindefense.data.outputs import load_outputs, with_defended
    from mindefense.data.shadow_outputs import load_shadow_outputs
    from mindefense.evaluation.recorded import evaluate_outputs
    from mindefense.files import check_writable

    config = _attackers_of_outputs(args)
    outputs = load_outputs(args.outputs)
    if args.defended is not None:
        outputs = with_defended(outputs, args.defended)
    shadows = None if args.shadow_outputs is None else load_shadow_outputs(args.shadow_outputs, outputs)
    check_writable(args.out)
    evaluation = evaluate_outputs(
        outputs,
        shadows=shadows,
        targets=config.targets,
        attacks=config.attacks,
        adversary=config.adversary,
        seed=args.seed or 0,
        progress=args.screen.progress,
    )
    return save_and_show(args.out, evaluation, args)


def compare_recorded(args: argparse.Namespace) -> Comparison:
    """Compares defenses of recorded outputs."""
    from mindefense.data.outputs import load_outputs
    from mindefense.defenses.registry import LINEUP
    from mindefense.evaluation.comparison import compare_outputs
    from mindefense.files import check_writable

    if args.training:
        raise InputError("--training", expected="a study", got="recorded outputs", fix="they have no model to train")
    config = _attackers_of_outputs(args)
    outputs = load_outputs(args.outputs)
    check_writable(args.out)
    return compare_outputs(
        outputs,
        args.defenses or LINEUP,
        attacks=config.attacks,
        adversary=config.adversary,
        seed=args.seed or 0,
        progress=args.screen.progress,
    )


def _attackers_of_outputs(args: argparse.Namespace) -> EvaluationConfig:
    """The attackers of recorded outputs, from the arguments."""
    from mindefense.evaluation.config import EvaluationConfig

    config = attackers(args)
    if args.knowledge in ("shadow", "online", "offline"):
        fix = "drop it or use auditor"
        raise InputError(f"--knowledge {args.knowledge}", expected="a model", got="recorded outputs", fix=fix)
    if args.noise == "fresh":
        raise InputError("--noise fresh", expected="a model", got="recorded outputs", fix="each row has one answer")
    if config.max_queries != EvaluationConfig.max_queries:
        fix = "drop it: attackers that ask about changed samples do not run on them"
        raise InputError("--max_queries", expected="a model", got="recorded outputs", fix=fix)
    return config


def defend_recorded(args: argparse.Namespace) -> Outcome:
    """Defends any number of recorded confidence vectors."""
    from mindefense.data.vectors import open_vectors
    from mindefense.defenses.registry import DefenseSpec
    from mindefense.keyed_noise import read_key

    idle = {"device_target": ("auto", "CPU"), "amp": ("O0",), "device_id": (None,), "distributed": (False,)}
    for name, usual in idle.items():
        if getattr(args, name) not in usual:
            got = str(getattr(args, name))
            raise InputError(f"--{name}", expected="none with --outputs, which runs on the CPU", got=got, fix="drop it")
    if args.defense and not args.defense.endswith(".ckpt"):
        spec = DefenseSpec.parse(args.defense)
        if spec.needs_fitting:
            return _fit_and_defend(args, spec)
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
    progress, rows, say = args.screen.progress, len(vectors), args.screen.say
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
        kept = f"{done:,} of {rows:,} rows are done and kept in {args.out}; the same command with --resume continues"
        raise KeyboardInterrupt(kept if done else "no chunk was done, so there is nothing to resume") from None
    new, seconds = tally.rows - tally.resumed, time.perf_counter() - began
    earlier = f", {tally.resumed:,} by an earlier run" if tally.resumed else ""
    say(f"rows: {rows:,}{earlier}" + (f"; {new / seconds:,.0f} rows/s" if new else ""))
    search = f"; {tally.fallbacks:,} rows for which the search found nothing" if tally.fallbacks else ""
    say(f"labels changed: {tally.labels_changed:,}; mean L1 distance {tally.mean_l1:.4f}{search}")
    if tally.rescaled:
        say(f"{tally.rescaled:,} rows did not sum to 1 because of rounding and were first divided by their sum")
    written = Path(args.out) / OUTPUT
    say(f"wrote {written}")
    names = ("rows", "resumed", "labels_changed", "mean_l1", "fallbacks", "rescaled")
    return Outcome(wrote=(written,), facts={name: getattr(tally, name) for name in names})


def _fit_and_defend(args: argparse.Namespace, spec: DefenseSpec) -> Outcome:
    """Fits a defense on some of the recorded rows, and defends all of them."""
    import numpy as np

    from mindefense.data.outputs import load_outputs
    from mindefense.evaluation.recorded import fit_recorded, recorded_scenario
    from mindefense.files import check_writable, replacing

    if args.resume or args.key is not None:
        got = "--resume" if args.resume else "--key"
        fix = "drop it; for files that do not fit into memory, give the .ckpt of the fitted defense"
        raise InputError(f"--defense {spec}", expected="neither --resume nor --key", got=got, fix=fix)
    seed, say = 0, args.screen.say
    try:
        outputs = load_outputs(args.outputs)
    except DataError as error:
        fix = f"the defense is fitted on rows of --outputs: {error}; or give the .ckpt that `mindefense defend` wrote"
        expected, got = "outputs with the membership of each row", "a file that cannot be read as such"
        raise InputError(f"--defense {spec}", expected=expected, got=got, fix=fix) from error
    out = check_writable(args.out)
    scenario = recorded_scenario(outputs, seed=seed)
    known = scenario.sets.known
    defense = fit_recorded(outputs, spec, seed=seed, progress=args.screen.progress)
    rows = np.arange(len(outputs))
    with args.screen.progress.stage("defend", len(rows)) as advance:
        behind = scenario.behind(defense, seed=seed, knows=True, on_progress=lambda count: advance(count, ""))
        defended = np.exp(behind.target.query(rows))
    is_fit = np.isin(rows, known.indices())
    arrays = {
        "log_probs": outputs.log_probs,
        "defended_probs": defended,
        "is_member": outputs.is_member,
        "split": np.where(is_fit, "fit", "eval"),
        "index": outputs.indices,
        **({} if outputs.labels is None else {"labels": outputs.labels}),
    }
    written = out / "defended.npz", out / "defense.ckpt"
    defense.save(written[1])
    with replacing(written[0], private=True) as beside:
        np.savez(beside, **arrays)
    changed = int((defended.argmax(axis=1) != outputs.log_probs.argmax(axis=1)).sum())
    distance = float(np.abs(defended - np.exp(outputs.log_probs)).sum(axis=1).mean())
    chosen = "that it marks for fitting" if outputs.split is not None else "drawn with seed 0"
    say(
        f"fitted on {len(known):,} rows of {outputs.name} {chosen}: {len(known.members):,} members and "
        f"{len(known.non_members):,} non-members; no attacker is evaluated on them"
    )
    if defense.noise_scale > 0:
        say("recorded answers have no noise on the input: the search starts from the clean answers")
    say(f"labels changed: {changed:,}; mean L1 distance {distance:.4f}")
    say(f"wrote {', '.join(str(path) for path in written)}; next: mindefense evaluate --outputs {written[0]}")
    return Outcome(wrote=written, facts={"rows": len(rows), "labels_changed": changed, "mean_l1": distance})
