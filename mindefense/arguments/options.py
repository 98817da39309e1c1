"""Arguments of the command line and of the examples: names, types and help texts; a study's are in `study_options`."""

from __future__ import annotations

import argparse

from mindefense.arguments import values
from mindefense.arguments.choices import AMP_LEVELS, DOWNLOADS, EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_STRICT, SHELLS
from mindefense.attacks.registry import ATTACKS
from mindefense.defenses.registry import names_in_words


def add_common_arguments(parser: argparse.ArgumentParser, *, shares: bool = True, of_study: bool = True) -> None:
    """Arguments of every command that computes; `shares` adds the option that divides the work among ranks."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--device_target",
        choices=("auto", "CPU", "GPU", "Ascend"),
        default="auto",
        help="auto takes the first of Ascend, GPU, CPU that is present and works (default: auto)",
    )
    group.add_argument(
        "--device_id", type=values.whole, metavar="N", help="number of the device of that kind (default: the first)"
    )
    group.add_argument(
        "--amp",
        choices=AMP_LEVELS,
        default="O0",
        help="O2 evaluates target and shadow model in float16, which changes their answers slightly; it is meant for "
        "Ascend and GPU, and is slower on a CPU; all training is in float32 (default: O0)",
    )
    if shares:
        group.add_argument(
            "--distributed", action="store_true", help="divide the work among the processes that msrun started"
        )
    parser.set_defaults(crew=None)  # set on rank 0 once the ranks have joined
    add_shared_arguments(parser, of_study=of_study)


def add_shared_arguments(parser: argparse.ArgumentParser, *, of_study: bool = False) -> None:
    """Arguments of every command; `of_study` says whether it accepts DefenMI's config.ini."""
    group = parser.add_argument_group("general")
    text = "read options from a .toml file (docs/configuration.md), where they are written without dashes; options on "
    text += "the command line take precedence, and --no_SWITCH turns a switch off"
    if of_study:
        text += "; DefenMI's config.ini is accepted too, and run also accepts the results.json of an earlier run"
    group.add_argument("--config", metavar="FILE", help=text)
    if of_study:
        group.add_argument(
            "--section", metavar="NAME", help="section of the config.ini (default: the one named in its [dataset])"
        )
    group.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document for programs; messages then go to stderr (docs/command_line.md)",
    )
    group.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_folder_argument(parser: argparse.ArgumentParser, *, recorded: bool = False) -> None:
    """The folder of a study; `recorded` says whether the command accepts ``--outputs`` instead of a study."""
    text = "folder of the study (see mindefense train)"
    text += ", or with --outputs any folder for the files that are written" * recorded
    parser.add_argument("--out", required=True, metavar="DIR", help=text)


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Whether to continue an interrupted training."""
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")


def add_bank_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shadow models, and how many."""
    parser.add_argument(
        "--shadows",
        type=values.positive,
        metavar="K",
        help="number of models of the online bank, and of the offline bank with --offline; attacks need at least 4 "
        "(default: that of the study, otherwise 8)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--online", action="store_true", help="train only models on half of the judged rows each")
    kind.add_argument("--offline", action="store_true", help="train only models on other rows than those judged")
    add_jobs_argument(parser)


def add_jobs_argument(parser: argparse._ActionsContainer) -> None:
    """Processes that train shadow models."""
    parser.add_argument(
        "--jobs",
        type=values.positive,
        metavar="N",
        help="processes of one core each that train MLPs side by side on a CPU; the models are the same for any number "
        "(default: the fastest by a short measurement, or one per core for few models and with --distributed)",
    )


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set to download, and the folder for it."""
    parser.add_argument("name", choices=DOWNLOADS, help="data set")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder to put it into")


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell to complete for."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the doctor."""
    parser.add_argument("--data_path", metavar="PATH", help="look for data here (default: MINDEFENSE_DATA)")


def add_attacker_arguments(parser: argparse.ArgumentParser) -> None:
    """The attackers of an evaluation."""
    group = parser.add_argument_group("attackers")
    group.add_argument(
        "--attacks",
        type=values.attacks,
        metavar="A,B",
        help=f"attacks to run, of {', '.join(ATTACKS)} (default: all but boundary-distance, the slowest)",
    )
    group.add_argument(
        "--knowledge",
        choices=("all", "auditor", "shadow", "online", "offline"),
        default="all",
        help="an auditor knows members of the target; a shadow attacker trains a model of its own; online and offline "
        "attackers have a bank of shadow models (default: all)",
    )
    group.add_argument(
        "--adversary",
        choices=("both", "static", "adaptive"),
        default="both",
        help="adaptive attackers know the defense and fit behind it; static ones do not (default: both)",
    )
    group.add_argument(
        "--noise",
        choices=("keyed", "fresh"),
        default="keyed",
        help="keyed gives the same query the same answer every time; fresh draws new noise each time (default: keyed)",
    )
    group.add_argument(
        "--max_queries",
        type=values.positive,
        default=1000,
        metavar="N",
        help="largest number of queries per sample of boundary-distance (default: 1000)",
    )


def add_judgement_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that determine the exit code of an evaluation."""
    group = parser.add_argument_group("judgement")
    group.add_argument("--strict", action="store_true", help=f"exit code {EXIT_STRICT} if any check fails")
    group.add_argument(
        "--fail_above",
        type=values.gate,
        action="append",
        default=[],
        metavar="METRIC=LIMIT",
        help=f"exit code {EXIT_GATE} if an attacker exceeds the limit, {EXIT_INCONCLUSIVE} if none does but a leak may "
        "have been missed: auc=0.6, accuracy=0.6, advantage=0.2, epsilon=1, tpr@0.01=0.05, or named=5 members that "
        "are identified almost surely; may be given more than once",
    )
    group.add_argument(
        "--policy",
        type=values.policy,
        metavar="FILE",
        help="TOML file of limits, required attackers and the smallest number of rows; the verdict is PASS, FAIL or "
        "INCONCLUSIVE (docs/evaluation.md)",
    )
    group.add_argument(
        "--fail_by",
        choices=("estimate", "low", "high"),
        default="estimate",
        help="the value that is compared with the limits: the estimate, or the low or high end of its 95%% interval; "
        "with few rows the interval is wide, so that high may exceed a limit for that reason alone (default: estimate)",
    )


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """The attackers of an evaluation, its limits, and the words of its report."""
    add_attacker_arguments(parser)
    parser.add_argument(
        "--targets",
        type=values.whole,
        default=0,
        metavar="N",
        help="also attack N models of the online bank, each in the target's place and with the help of the others: "
        "states how much the figures vary between models trained in the same way; at least 5 (default: 0)",
    )
    add_judgement_arguments(parser)
    add_evidence_arguments(parser)


def add_evidence_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that are copied into the results and the report."""
    group = parser.add_argument_group("evidence")
    group.add_argument("--title", metavar="TEXT", help="title of the report and of the results")
    group.add_argument("--note", metavar="TEXT", help="a note for readers, such as the model's version")


def add_recorded_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments for recorded outputs, which take the place of a study."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="evaluate these recorded outputs of any framework (.npz or .csv) instead of a study, on the CPU: "
        "--device_target, --device_id and --amp then have no effect",
    )
    parser.add_argument(
        "--shadow_outputs",
        metavar="FILE",
        help="answers of shadow models to the rows of --outputs (.npz with logits, log_probs or probs (K, N, C) and "
        "in_training (K, N)), for the attackers that compare with shadow models",
    )
    parser.add_argument(
        "--defended",
        metavar="FILE",
        help="the defended answers to the same rows: the defended.npz or defended_outputs.npy of `mindefense defend "
        "--outputs`, or a file in the format of --outputs",
    )
    parser.add_argument("--seed", type=values.seed, metavar="N", help="seed of the split of --outputs (default: 0)")


def add_compared_outputs_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a comparison of defenses for recorded outputs instead of a study's."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="compare defenses of these recorded outputs of any framework (.npz or .csv) instead of a study's; "
        "defenses that need fitting are fitted on half of the rows, or on the rows that the file marks for fitting",
    )
    parser.add_argument("--seed", type=values.seed, metavar="N", help="seed of the split of --outputs (default: 0)")


def add_bulk_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments for any number of recorded confidence vectors, which take the place of a study's."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="reshape these recorded confidence vectors (.npy or .npz, any number) instead of a study's "
        "→ defended_outputs.npy",
    )
    parser.add_argument(
        "--defense",
        type=values.fitted_defense,
        metavar="FILE|NAME",
        help="the defense for --outputs: the .ckpt of a fitted defense; rounding=DIGITS, top-k=K, temperature=T, "
        "label-only, laplace=SCALE; or defenmi, memguard, class-mean, which are fitted on half of the rows of "
        "--outputs, or on the rows that it marks for fitting → defense.ckpt, defended.npz (default: defense.ckpt in "
        "--out)",
    )
    parser.add_argument("--key", metavar="FILE", help="existing key file, for a randomized defense of --outputs")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with --outputs")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The model and defense to export, and the files for them."""
    parser.add_argument(
        "--defense",
        type=values.defense,
        metavar="NAME",
        help=f"the defense of the exported model: {names_in_words()} (default: the study's own)",
    )
    parser.add_argument(
        "--file_name",
        default="guarded",
        metavar="NAME",
        help="name of the files, without a suffix: a bare name is a file in --out, a path is used as it is (default: "
        "guarded)",
    )
    parser.add_argument(
        "--file_format",
        type=values.file_format,
        default="MINDIR",
        metavar="MINDIR",
        help="only MINDIR: the defense's search is a loop, which cannot be exported to ONNX",
    )
    parser.add_argument(
        "--batch_size",
        type=values.batch,
        default=64,
        metavar="N",
        help="rows per call of the graph, best a multiple of 64; or dynamic for any number, which may take several "
        "times as long (default: 64)",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="file of the secret key of a randomized defense, created if it does not exist (default: NAME.key)",
    )


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The results to report, and the folder for the pages."""
    parser.add_argument(
        "results",
        metavar="FILE",
        help="results.json or comparison.json of an earlier run, or the folder of a results.json",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: that of FILE)")
    parser.add_argument("--figures", action="store_true", help="also write each picture as SVG and PNG (DIR/figures)")


def add_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """The two results to compare."""
    for name, which in (("old", "the older"), ("new", "the newer")):
        parser.add_argument(name, metavar=name.upper(), help=f"{which} results.json, or its folder")
    parser.add_argument(
        "--fail_on_rise", action="store_true", help=f"exit code {EXIT_GATE} if any figure is significantly higher"
    )


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """The defenses and ways of training to compare."""
    parser.add_argument(
        "--defenses",
        type=values.lineup,
        metavar="A,B",
        help=f"defenses to compare, of {names_in_words().removeprefix('none, ')} (default: all)",
    )
    parser.add_argument(
        "--training",
        type=values.ways,
        default=(),
        metavar="A,B",
        help="ways of training that protect a target; a new target is trained for each: early-stopping=ACCURACY, "
        "weight-decay=L2, label-smoothing=SHARE, dp=EPSILON, dp-mindarmour=NOISE (default: none)",
    )
