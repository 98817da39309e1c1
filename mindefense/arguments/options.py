"""The arguments of the command line and of the examples: names, types and help texts."""

from __future__ import annotations

import argparse

from mindefense.arguments import values
from mindefense.arguments.choices import (
    AMP_LEVELS,
    DATASETS,
    DOWNLOADS,
    EXIT_GATE,
    EXIT_INCONCLUSIVE,
    EXIT_STRICT,
    MODELS,
    SCHEDULES,
    SHELLS,
)
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


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the demonstration."""
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder for all files (default: runs/demo)")
    _add_seed_arguments(parser)


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
        default=8,
        metavar="K",
        help="shadow models that the bank is to have, 4 at least for an attack (default: 8)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--online", action="store_true", help="each is trained on half of the judged rows (the default)")
    kind.add_argument("--offline", action="store_true", help="they are trained on other rows than those judged")


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


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, the defense and the seed of a study."""
    _add_input_arguments(parser)
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        help="name of the data set (default: location, or synthetic without --data_path)",
    )
    parser.add_argument("--split_config", metavar="FILE", help="DefenMI config.ini with the ranges of the rows")
    parser.add_argument("--split_section", metavar="NAME", help="section of that file (default: the data set's name)")
    _add_defense_arguments(parser, default="defenmi")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints in --out")


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """The attackers of an evaluation, its limits, and the words of its report."""
    add_attacker_arguments(parser)
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
        "weight-decay=L2, label-smoothing=SHARE, dp=NOISE (default: none)",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """The target's network and its training."""
    group = parser.add_argument_group("training of the target (defaults: as published)")
    group.add_argument(
        "--model", choices=MODELS, help="the target's network (default: vgg16 for cifar100, mlp for all others)"
    )
    group.add_argument("--epochs", type=values.positive, metavar="N", help="passes over the members")
    group.add_argument("--learning_rate", type=values.fraction, metavar="RATE", help="learning rate after the warm-up")
    group.add_argument("--schedule", choices=SCHEDULES, help="how the learning rate decreases")
    group.add_argument("--warmup_epochs", type=values.whole, metavar="N", help="epochs in which the rate rises")
    group.add_argument(
        "--until_accuracy", type=values.fraction, metavar="SHARE", help="stop after the first epoch with this accuracy"
    )
    group.add_argument("--weight_decay", type=values.fraction, metavar="L2", help="L2 penalty of the weights")
    group.add_argument(
        "--label_smoothing",
        type=values.fraction,
        metavar="SHARE",
        help="share of each label's weight that is spread over all classes",
    )
    group.add_argument(
        "--canaries",
        type=values.positive,
        metavar="N",
        help="give a wrong label to N of the evaluation's members and N of its non-members, and report these rows "
        "separately",
    )


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that only vgg16 has."""
    group = parser.add_argument_group("images (vgg16)")
    _add_size_arguments(group)
    _add_members_argument(group)
    group.add_argument(
        "--width_multiplier", type=values.fraction, metavar="SHARE", help="share of the published widths (default: 1)"
    )
    group.add_argument("--augment", action="store_true", help="train on random crops and flips")


def add_tutorial_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of MindArmour's tutorial on VGG16 and CIFAR-100, and further ones."""
    _add_input_arguments(parser)
    _add_size_arguments(parser)
    _add_members_argument(parser)
    _add_defense_arguments(parser, default="none")
    add_evaluation_arguments(parser)
    add_common_arguments(parser, of_study=False)


def _add_input_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_path", metavar="PATH", help="folder or file of the data set (default: synthetic rows)")
    parser.add_argument("--pre_trained", metavar="CKPT", help="use this checkpoint's target, train none")


def _add_size_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--image_size",
        type=values.positive,
        metavar="PIXELS",
        help="height and width of the network's input (default: that of the checkpoint, otherwise 224)",
    )
    parser.add_argument(
        "--num_samples",
        type=values.positive,
        metavar="N",
        help="number of members, and of non-members, in the evaluation (default: 5000, or all if there are fewer)",
    )
    parser.add_argument(
        "--batch_size", type=values.positive, default=64, metavar="N", help="images per batch (default: 64)"
    )
    parser.add_argument(
        "--parity",
        action="store_true",
        help="crop and flip only the members at random, as the tutorial does, instead of treating members and "
        "non-members alike",
    )


def _add_members_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--members",
        type=values.members,
        metavar="N|FILE",
        help="the images of train.bin that the target is trained on: the first N, or those whose numbers, counted from "
        "0, FILE lists, one per line (.txt, .csv) or as an array of integers (.npy); a checkpoint of mindefense "
        "records N (default: all)",
    )


def _add_defense_arguments(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--defense",
        type=values.defense,
        default=default,
        metavar="NAME",
        help=f"the defense: {names_in_words()} (default: {default})",
    )
    parser.add_argument(
        "--alignment",
        choices=("corrected", "published"),
        default="corrected",
        help="published reproduces the published program, including its departures from the paper; corrected follows "
        "the paper (default: corrected)",
    )
    parser.add_argument(
        "--max_steps",
        type=values.steps,
        metavar="N",
        help="largest number of search steps of defenmi or memguard for one answer, which bounds the time of an "
        "answer; a bound of 300 or more leaves no answer undefended (default: as published, 1800 and 2100)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for all files (default: runs/DATASET or runs/tutorial, with the suffix -smoke for --smoke)",
    )
    _add_seed_arguments(parser)


def _add_seed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="seed of all random numbers (default: 0)"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="few rows and epochs, to test that everything runs; the figures are meaningless",
    )
