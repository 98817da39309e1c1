"""Arguments that say what a study is about and how its target is trained."""

from __future__ import annotations

import argparse

from mindefense.arguments import values
from mindefense.arguments.choices import DATASETS, MODELS, SCHEDULES
from mindefense.arguments.options import add_common_arguments, add_evaluation_arguments, add_jobs_argument
from mindefense.defenses.registry import names_in_words


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the demonstration."""
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder for all files (default: runs/demo)")
    _add_seed_arguments(parser)


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
    add_study_bank_arguments(parser)


def add_study_bank_arguments(parser: argparse.ArgumentParser) -> None:
    """The banks of shadow models that a whole study trains."""
    group = parser.add_argument_group("shadow models")
    group.add_argument(
        "--shadows",
        type=values.whole,
        metavar="K",
        help="train K shadow models on half of the judged rows each, and K/2, if at least 4, on other rows; 0 for none "
        "(default: 8, with --smoke 4, for vgg16 0)",
    )
    add_jobs_argument(group)


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
        "--epsilon",
        type=values.above_0,
        metavar="EPSILON",
        help="train with differential privacy (DP-SGD) of this ε and δ = 1/members², and the shadow models likewise; "
        "mlp only, with other rates and batches than published unless they are given",
    )
    group.add_argument(
        "--training",
        type=values.ways,
        default=(),
        metavar="NAME=VALUE,…",
        help="the same by the names that `mindefense compare --training` uses: early-stopping, weight-decay, "
        "label-smoothing, dp",
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
    add_study_bank_arguments(parser)
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
