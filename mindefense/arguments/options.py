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
    """Arguments of everything that computes; `shares` says whether ranks could do it together."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--device_target",
        choices=("auto", "CPU", "GPU", "Ascend"),
        default="auto",
        help="auto takes the first of Ascend, GPU, CPU that is there and computes (default: auto)",
    )
    group.add_argument(
        "--device_id", type=values.whole, metavar="N", help="which device of that kind (default: the first)"
    )
    group.add_argument(
        "--amp",
        choices=AMP_LEVELS,
        default="O0",
        help="O2 asks target and shadow in float16, for Ascend and GPU (slower on a CPU), which changes answers a "
        "little; all training is in float32 (default: O0)",
    )
    if shares:
        group.add_argument(
            "--distributed", action="store_true", help="share the work with the other processes that msrun started"
        )
    parser.set_defaults(crew=None)  # of whom rank 0 learns when it has joined
    add_shared_arguments(parser, of_study=of_study)


def add_shared_arguments(parser: argparse.ArgumentParser, *, of_study: bool = False) -> None:
    """Arguments of every command; `of_study` says whether DefenMI's configuration means something to it."""
    group = parser.add_argument_group("general")
    text = (
        "take options from a .toml file (docs/configuration.md), in which they are written without dashes; options on "
    )
    text += "the command line take precedence, and --no_SWITCH turns a switch off"
    if of_study:
        text += "; DefenMI's config.ini is taken too, and by run the results.json of an earlier run"
    group.add_argument("--config", metavar="FILE", help=text)
    if of_study:
        group.add_argument(
            "--section", metavar="NAME", help="section of the config.ini (default: the one that its [dataset] names)"
        )
    group.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document for machines; messages then go to stderr (docs/command_line.md)",
    )
    group.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a first look."""
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder for all files (default: runs/demo)")
    _add_seed_arguments(parser)


def add_folder_argument(parser: argparse.ArgumentParser, *, recorded: bool = False) -> None:
    """The folder of a study; `recorded` says whether ``--outputs`` may stand in the place of one."""
    text = "folder of the study (see mindefense train)"
    text += ", or with --outputs any folder for what is written" * recorded
    parser.add_argument("--out", required=True, metavar="DIR", help=text)


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Whether to go on with a training."""
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


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
    """Arguments that say what is fetched, and where to."""
    parser.add_argument("name", choices=DOWNLOADS, help="data set")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder to put it into")


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is examined."""
    parser.add_argument("--data_path", metavar="PATH", help="look for data here (default: what MINDEFENSE_DATA names)")


def add_attacker_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say who attacks."""
    group = parser.add_argument_group("attackers")
    group.add_argument(
        "--attacks",
        type=values.attacks,
        metavar="A,B",
        help=f"who attacks, of {', '.join(ATTACKS)} (default: all but boundary-distance, the slowest)",
    )
    group.add_argument(
        "--knowledge",
        choices=("all", "auditor", "shadow", "online", "offline"),
        default="all",
        help="auditor knows members of the target, shadow trains a model of its own, online and offline have a bank of "
        "shadow models (default: all)",
    )
    group.add_argument(
        "--adversary",
        choices=("both", "static", "adaptive"),
        default="both",
        help="adaptive attackers know of the defense, static ones do not (default: both)",
    )
    group.add_argument(
        "--noise",
        choices=("keyed", "fresh"),
        default="keyed",
        help="keyed always gives the same query the same answer; fresh draws new noise each time (default: keyed)",
    )
    group.add_argument(
        "--max_queries",
        type=values.positive,
        default=1000,
        metavar="N",
        help="most questions about one sample that boundary-distance may ask (default: 1000)",
    )


def add_judgement_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that turn an evaluation into an exit code."""
    group = parser.add_argument_group("judgement")
    group.add_argument("--strict", action="store_true", help=f"exit code {EXIT_STRICT} if any check fails")
    group.add_argument(
        "--fail_above",
        type=values.gate,
        action="append",
        default=[],
        metavar="METRIC=LIMIT",
        help=f"exit code {EXIT_GATE} if an attacker exceeds it, {EXIT_INCONCLUSIVE} if none does but a leak may have "
        "been missed: auc=0.6, accuracy=0.6, advantage=0.2, epsilon=1, tpr@0.01=0.05, or named=5 members that are "
        "identified almost surely; may be given more than once",
    )
    group.add_argument(
        "--policy",
        type=values.policy,
        metavar="FILE",
        help="TOML file of limits, required attackers and fewest rows, which gives PASS, FAIL or INCONCLUSIVE "
        "(docs/evaluation.md)",
    )
    group.add_argument(
        "--fail_by",
        choices=("estimate", "low", "high"),
        default="estimate",
        help="what is compared with the limits: the estimate, or the low or high end of its 95%% interval; high fails "
        "where too few rows judge (default: estimate)",
    )


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what a study is about."""
    _add_input_arguments(parser)
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        help="which data set that is (default: location, or synthetic without --data_path)",
    )
    parser.add_argument("--split_config", metavar="FILE", help="DefenMI config.ini with the ranges of the rows")
    parser.add_argument("--split_section", metavar="NAME", help="its section (default: the data set's name)")
    _add_defense_arguments(parser, default="defenmi")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say who attacks and what to make of it."""
    add_attacker_arguments(parser)
    add_judgement_arguments(parser)
    add_evidence_arguments(parser)


def add_evidence_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that results and report repeat."""
    group = parser.add_argument_group("evidence")
    group.add_argument("--title", metavar="TEXT", help="title of the report and of the results")
    group.add_argument("--note", metavar="TEXT", help="what readers should know, such as the model's version")


def add_recorded_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that put recorded outputs in the place of a study."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="evaluate these recorded outputs of any framework (.npz or .csv) instead of a study, on the CPU: "
        "--device_target, --device_id and --amp change nothing then",
    )
    parser.add_argument(
        "--defended",
        metavar="FILE",
        help="what a defense answered to the same rows: the defended.npz or defended_outputs.npy of `mindefense defend "
        "--outputs`, or a file like that of --outputs",
    )
    parser.add_argument("--seed", type=values.seed, metavar="N", help="divides the rows of --outputs (default: 0)")


def add_compared_outputs_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that put recorded outputs in the place of a study whose defenses are compared."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="compare defenses of these recorded outputs of any framework (.npz or .csv) instead of a study's; those "
        "that are fitted are fitted on half of the rows, or on those that the file marks",
    )
    parser.add_argument("--seed", type=values.seed, metavar="N", help="divides the rows of --outputs (default: 0)")


def add_bulk_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that put recorded confidence vectors of any number in the place of a study."""
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
        help="what reshapes --outputs: the .ckpt of a fitted defense; rounding=DIGITS, top-k=K, temperature=T, "
        "label-only, laplace=SCALE; or defenmi, memguard, class-mean, which are fitted on half of the rows of "
        "--outputs, or on those that it marks → defense.ckpt, defended.npz (default: defense.ckpt in --out)",
    )
    parser.add_argument(
        "--key", metavar="FILE", help="key file that is there already, for a defense of --outputs that draws"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the part of --outputs that is done")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is exported, and where to."""
    parser.add_argument(
        "--defense",
        type=values.defense,
        metavar="NAME",
        help=f"what to put in front: {names_in_words()} (default: the study's own)",
    )
    parser.add_argument(
        "--file_name",
        default="guarded",
        metavar="NAME",
        help="name of the files without a suffix; a name alone lies in --out, a path where it says (default: guarded)",
    )
    parser.add_argument(
        "--file_format",
        type=values.file_format,
        default="MINDIR",
        metavar="MINDIR",
        help="MINDIR alone: a search is a loop, and loops do not export to ONNX",
    )
    parser.add_argument(
        "--batch_size",
        type=values.batch,
        default=64,
        metavar="N",
        help="rows that the graph takes at a time, best a multiple of 64, or dynamic for any number, which may take "
        "several times as long (default: 64)",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="file of the secret key of a defense that draws, made if it is not there (default: NAME.key)",
    )


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is reported, and where to."""
    parser.add_argument(
        "results",
        metavar="FILE",
        help="results.json or comparison.json of an earlier run, or the folder of a results.json",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: that of FILE)")
    parser.add_argument("--figures", action="store_true", help="also write each picture as SVG and PNG (DIR/figures)")


def add_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name two results."""
    for name, which in (("old", "the older"), ("new", "the newer")):
        parser.add_argument(name, metavar=name.upper(), help=f"{which} results.json, or its folder")
    parser.add_argument(
        "--fail_on_rise", action="store_true", help=f"exit code {EXIT_GATE} if any figure is higher beyond chance"
    )


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is compared."""
    parser.add_argument(
        "--defenses",
        type=values.lineup,
        metavar="A,B",
        help=f"which defenses to compare, of {names_in_words().removeprefix('none, ')} (default: all)",
    )
    parser.add_argument(
        "--training",
        type=values.ways,
        default=(),
        metavar="A,B",
        help="ways to train a target that defend it, each trained anew: early-stopping=ACCURACY, "
        "weight-decay=L2, label-smoothing=SHARE, dp=NOISE (default: none)",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which target is trained and how."""
    group = parser.add_argument_group("training of the target (defaults: as published)")
    group.add_argument(
        "--model", choices=MODELS, help="the target's kind (default: vgg16 for cifar100, mlp for all others)"
    )
    group.add_argument("--epochs", type=values.positive, metavar="N", help="passes over the members")
    group.add_argument("--learning_rate", type=values.fraction, metavar="RATE", help="learning rate after warming up")
    group.add_argument("--schedule", choices=SCHEDULES, help="how the learning rate falls")
    group.add_argument("--warmup_epochs", type=values.whole, metavar="N", help="epochs over which it rises at first")
    group.add_argument(
        "--until_accuracy", type=values.fraction, metavar="SHARE", help="end after the first epoch with this accuracy"
    )
    group.add_argument("--weight_decay", type=values.fraction, metavar="L2", help="L2 penalty of the weights")
    group.add_argument(
        "--label_smoothing",
        type=values.fraction,
        metavar="SHARE",
        help="share of the labels to spread over all classes",
    )
    group.add_argument(
        "--canaries",
        type=values.positive,
        metavar="N",
        help="give N of the members to judge by, and of the non-members, a wrong label, and report them apart",
    )


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of vgg16 alone."""
    group = parser.add_argument_group("images (vgg16)")
    _add_size_arguments(group)
    _add_members_argument(group)
    group.add_argument(
        "--width_multiplier", type=values.fraction, metavar="SHARE", help="share of the published widths (default: 1)"
    )
    group.add_argument("--augment", action="store_true", help="train on random crops and flips")


def add_tutorial_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of MindArmour's tutorial on VGG16 and CIFAR-100, and those that go beyond it."""
    _add_input_arguments(parser)
    _add_size_arguments(parser)
    _add_members_argument(parser)
    _add_defense_arguments(parser, default="none")
    add_evaluation_arguments(parser)
    add_common_arguments(parser, of_study=False)


def _add_input_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_path", metavar="PATH", help="folder or file of the data set (default: synthetic rows)")
    parser.add_argument("--pre_trained", metavar="CKPT", help="take the target from this checkpoint, train none")


def _add_size_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--image_size",
        type=values.positive,
        metavar="PIXELS",
        help="height and width of the network's input (default: as the checkpoint says, else 224)",
    )
    parser.add_argument(
        "--num_samples",
        type=values.positive,
        metavar="N",
        help="members and non-members to judge by, of each as many (default: 5000, or as many as there are)",
    )
    parser.add_argument(
        "--batch_size", type=values.positive, default=64, metavar="N", help="images at a time (default: 64)"
    )
    parser.add_argument(
        "--parity",
        action="store_true",
        help="crop and flip members alone at random, as the tutorial does, instead of treating both sides alike",
    )


def _add_members_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--members",
        type=values.members,
        metavar="N|FILE",
        help="the images of train.bin that the target is trained on: the first N, or those that FILE lists by their "
        "numbers from 0, one per line (.txt, .csv) or as an array of integers (.npy); a checkpoint of mindefense "
        "records the number if they are the first (default: all)",
    )


def _add_defense_arguments(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--defense",
        type=values.defense,
        default=default,
        metavar="NAME",
        help=f"what to defend with: {names_in_words()} (default: {default})",
    )
    parser.add_argument(
        "--alignment",
        choices=("corrected", "published"),
        default="corrected",
        help="published repeats the published program where it departs from its idea (default: corrected)",
    )
    parser.add_argument(
        "--max_steps",
        type=values.steps,
        metavar="N",
        help="most steps that defenmi or memguard may search for one answer, which bounds its time; with 300 or more, "
        "the bound leaves no answer undefended (default: as published, 1800 and 2100)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for all files (default: runs/DATASET or runs/tutorial, with --smoke -smoke after it)",
    )
    _add_seed_arguments(parser)


def _add_seed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="determines all that is random (default: 0)"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="few rows and epochs, to see whether everything runs; the figures mean nothing",
    )
