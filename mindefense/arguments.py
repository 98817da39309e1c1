"""The arguments of the command line and of the examples: names, types and help texts.

Nothing here imports MindSpore, so that help and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from mindefense.configuration import with_configuration
from mindefense.errors import InputError

DATASETS = ("location", "purchase100", "texas100", "ch_mnist", "cifar100", "synthetic")
MODELS = ("mlp", "vgg16")
SCHEDULES = ("step", "cosine")
AMP_LEVELS = ("O0", "O2")
TRAINING = (
    "epochs",
    "learning_rate",
    "schedule",
    "warmup_epochs",
    "until_accuracy",
    "weight_decay",
    "label_smoothing",
    "augment",
    "canaries",
)
DEFENSES = (
    "none, defenmi, memguard, memguard=L1_BUDGET, rounding=DIGITS, top-k=K, temperature=T, laplace=SCALE, class-mean, "
    "label-only"
)
ATTACKS = (
    "gap",
    "confidence",
    "confidence-per-class",
    "max-confidence",
    "entropy",
    "entropy-per-class",
    "modified-entropy",
    "modified-entropy-per-class",
    "loss",
    "mindarmour-lr",
    "mindarmour-knn",
    "mindarmour-mlp",
    "mindarmour-rf",
    "salem-top3",
    "shokri-label",
    "nn",
    "nsh",
    "label-noise",
    "label-flips",
    "label-shifts",
    "averaging-8",
    "averaging-64",
    "averaging-8-perturbed",
    "boundary-distance",
)
EXIT_UNFIT, EXIT_STRICT, EXIT_GATE = 1, 3, 4


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line; takes no abbreviated options; reads the file of ``--config`` if it has that."""

    def __init__(self, **settings):
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, for which what a file of ``--config`` says is typed before all else.

        Refuses a budget of steps with a defense that takes none.
        """
        try:
            args = with_configuration(self, sys.argv[1:] if args is None else args)
        except InputError as error:
            self.error(str(error))
        known, others = super().parse_known_args(args, namespace)
        if getattr(known, "max_steps", None) is not None and not _searches(known.defense):
            self.error(f"--max_steps: expected a defense that searches, got {known.defense}; drop it")
        return known, others

    def error(self, message: str) -> NoReturn:
        """Prints it and leaves with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_common_arguments(parser: argparse.ArgumentParser, *, shares: bool = True) -> None:
    """Arguments of everything that computes; `shares` says whether ranks could do it together."""
    parser.add_argument(
        "--device_target",
        choices=("auto", "CPU", "GPU", "Ascend"),
        default="auto",
        help="auto takes the first of Ascend, GPU, CPU that is there and computes (default: auto)",
    )
    parser.add_argument("--device_id", type=_whole, metavar="N", help="which device of that kind (default: the first)")
    parser.add_argument(
        "--amp",
        choices=AMP_LEVELS,
        default="O0",
        help="O2 asks target and shadow in float16, for Ascend and GPU (slower on a CPU), which changes answers a "
        "little; all training is in float32 (default: O0)",
    )
    if shares:
        parser.add_argument(
            "--distributed", action="store_true", help="share the work with the other processes that msrun started"
        )
    parser.set_defaults(crew=None)  # of whom rank 0 learns when it has joined
    add_shared_arguments(parser)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="take options from a .toml file (docs/configuration.md); run takes results.json too, and what works on a "
        "study DefenMI's config.ini; what is typed wins",
    )
    parser.add_argument(
        "--section", metavar="NAME", help="section of the config.ini (default: the one that its [dataset] names)"
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is examined."""
    parser.add_argument("--data_path", metavar="PATH", help="look for data here (default: what MINDEFENSE_DATA names)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    add_shared_arguments(parser)


def add_attacker_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say who attacks."""
    group = parser.add_argument_group("attackers")
    group.add_argument(
        "--attacks",
        type=_attacks,
        metavar="A,B",
        help="attackers (default: all but boundary-distance, the slowest)",
    )
    group.add_argument(
        "--knowledge",
        choices=("both", "auditor", "shadow"),
        default="both",
        help="auditor knows members of the target, shadow trains a model of its own (default: both)",
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
        help="keyed answers the same query always alike; fresh shows what goes wrong otherwise (default: keyed)",
    )
    group.add_argument(
        "--max_queries",
        type=_positive,
        default=1000,
        metavar="N",
        help="most questions about one sample that boundary-distance may ask (default: 1000)",
    )


def add_judgement_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that turn an evaluation into an exit code."""
    group = parser.add_argument_group("judgement")
    group.add_argument("--strict", action="store_true", help=f"exit code {EXIT_STRICT} if any check fails")
    group.add_argument(
        "--fail-above",
        type=_gate,
        action="append",
        default=[],
        metavar="METRIC=LIMIT",
        help=f"exit code {EXIT_GATE} if the strongest attacker exceeds it: auc=0.6, accuracy=0.6, advantage=0.2, "
        "epsilon=1 or tpr@0.01=0.05; may be given more than once",
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
    add_common_arguments(parser)


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say who attacks and what to make of it."""
    add_attacker_arguments(parser)
    add_judgement_arguments(parser)


def add_recorded_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that put recorded outputs in the place of a study."""
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="evaluate these recorded outputs of any framework (.npz or .csv) instead of a study, on the CPU: "
        "--device_target, --device_id, --amp and --distributed change nothing then",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="divides the rows of --outputs (default: 0)")


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
        type=_fitted_defense,
        metavar="FILE|NAME",
        help="what reshapes --outputs: the .ckpt of a fitted defense, or rounding=DIGITS, top-k=K, temperature=T, "
        "label-only, laplace=SCALE (default: defense.ckpt in --out)",
    )
    parser.add_argument(
        "--key", metavar="FILE", help="key file that is there already, for a defense of --outputs that draws"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the part of --outputs that is done")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is exported, and where to."""
    parser.add_argument(
        "--defense", type=_defense, metavar="NAME", help=f"what to put in front: {DEFENSES} (default: the study's own)"
    )
    parser.add_argument(
        "--file_name",
        default="guarded",
        metavar="NAME",
        help="name of the files without a suffix; a name alone lies in --out, a path where it says (default: guarded)",
    )
    parser.add_argument(
        "--file_format",
        type=_format,
        default="MINDIR",
        metavar="MINDIR",
        help="MINDIR alone: a search is a loop, and loops do not export to ONNX",
    )
    parser.add_argument(
        "--batch_size",
        type=_batch,
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
    parser.add_argument("results", metavar="FILE", help="results.json or comparison.json of an earlier run")
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: that of FILE)")
    parser.add_argument("--figures", action="store_true", help="also write each picture as SVG and PNG (DIR/figures)")
    add_shared_arguments(parser)


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what is compared."""
    parser.add_argument(
        "--defenses", type=_lineup, metavar="A,B", help=f"what to put up, of {DEFENSES[6:]} (default: all)"
    )
    parser.add_argument(
        "--training",
        type=_ways,
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
    group.add_argument("--epochs", type=_positive, metavar="N", help="passes over the members")
    group.add_argument("--learning_rate", type=_fraction, metavar="RATE", help="learning rate after warming up")
    group.add_argument("--schedule", choices=SCHEDULES, help="how the learning rate falls")
    group.add_argument("--warmup_epochs", type=_whole, metavar="N", help="epochs over which it rises at first")
    group.add_argument(
        "--until_accuracy", type=_fraction, metavar="SHARE", help="end after the first epoch with this accuracy"
    )
    group.add_argument("--weight_decay", type=_fraction, metavar="L2", help="L2 penalty of the weights")
    group.add_argument(
        "--label_smoothing", type=_fraction, metavar="SHARE", help="share of the labels to spread over all classes"
    )
    group.add_argument(
        "--canaries",
        type=_positive,
        metavar="N",
        help="give N of the members to judge by, and of the non-members, a wrong label, and report them apart",
    )


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of vgg16 alone."""
    group = parser.add_argument_group("images (vgg16)")
    _add_size_arguments(group)
    group.add_argument(
        "--members", type=_positive, metavar="N", help="train on the first N images of train.bin (default: on all)"
    )
    group.add_argument(
        "--width_multiplier", type=_fraction, metavar="SHARE", help="share of the published widths (default: 1)"
    )
    group.add_argument("--augment", action="store_true", help="train on random crops and flips")


def add_tutorial_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of MindArmour's tutorial on VGG16 and CIFAR-100, and those that go beyond it."""
    _add_input_arguments(parser)
    _add_size_arguments(parser)
    _add_defense_arguments(parser, default="none")
    add_evaluation_arguments(parser)
    add_common_arguments(parser)


def _add_input_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_path", metavar="PATH", help="folder or file of the data set (default: synthetic rows)")
    parser.add_argument("--pre_trained", metavar="CKPT", help="take the target from this checkpoint, train none")


def _add_size_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--image_size",
        type=_positive,
        metavar="PIXELS",
        help="height and width of the network's input (default: as the checkpoint says, else 224)",
    )
    parser.add_argument(
        "--num_samples",
        type=_positive,
        metavar="N",
        help="members and non-members to judge by, of each as many (default: 5000, or as many as there are)",
    )
    parser.add_argument("--batch_size", type=_positive, default=64, metavar="N", help="images at a time (default: 64)")
    parser.add_argument(
        "--parity",
        action="store_true",
        help="crop and flip members alone at random, as the tutorial does, instead of treating both sides alike",
    )


def _add_defense_arguments(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--defense",
        type=_defense,
        default=default,
        metavar="NAME",
        help=f"what to defend with: {DEFENSES} (default: {default})",
    )
    parser.add_argument(
        "--alignment",
        choices=("corrected", "published"),
        default="corrected",
        help="published repeats the published program where it departs from its idea (default: corrected)",
    )
    parser.add_argument(
        "--max_steps",
        type=_steps,
        metavar="N",
        help="most steps that defenmi or memguard may search for one answer, which bounds its time; from 300 on none "
        "goes without a search for it (default: as published, 1800 and 2100)",
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="decides all that is random (default: 0)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for all files (default: runs/DATASET or runs/tutorial, with --smoke -smoke after it)",
    )
    parser.add_argument("--smoke", action="store_true", help="few rows and epochs: does it run? no figures to quote")


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names


def _attacks(text: str) -> tuple[str, ...]:
    """Names of attackers."""
    names = _names(text)
    if unknown := [name for name in names if name not in ATTACKS]:
        raise argparse.ArgumentTypeError(f"expected {', '.join(ATTACKS)}, got {unknown[0]!r}")
    return names


def _defense(text: str) -> str:
    """The name of a defense, or none."""
    from mindefense.evaluation.lineup import NONE, DefenseSpec

    if text != NONE:
        _checked(DefenseSpec.parse, text)
    return text


def _searches(defense: str) -> bool:
    """Whether this defense, whose name is a good one, searches."""
    from mindefense.evaluation.lineup import NONE, DefenseSpec

    return defense != NONE and DefenseSpec.parse(defense).searches


def _fitted_defense(text: str) -> str:
    """The file of a defense, or the name of one that needs no fitting."""
    from mindefense.evaluation.lineup import DefenseSpec

    if not text.endswith(".ckpt"):
        _checked(DefenseSpec.parse_unfitted, text)
    return text


def _lineup(text: str) -> tuple[str, ...]:
    """Names of defenses, each once."""
    from mindefense.evaluation.lineup import parse_lineup

    names = _names(text)
    _checked(parse_lineup, names)
    return names


def _ways(text: str) -> tuple[str, ...]:
    """Ways to train."""
    from mindefense.evaluation.lineup import parse_ways

    names = _names(text)
    _checked(parse_ways, names)
    return names


def _gate(text: str):
    """A limit on a figure."""
    from mindefense.evaluation.gate import Gate

    return _checked(Gate.parse, text)


def _checked(parse: Callable, given):
    """What `parse` makes of an argument; its objection as argparse's."""
    try:
        return parse(given)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _whole(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _batch(text: str) -> int | None:
    """An integer of at least 1; None for any."""
    return None if text == "dynamic" else _positive(text)


def _format(text: str) -> str:
    """The one format."""
    if text != "MINDIR":
        raise argparse.ArgumentTypeError(f"expected MINDIR (loops do not export to others), got {text!r}")
    return text


def _steps(text: str) -> int:
    """An integer of at least 2: the start alone is one step."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 2, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _fraction(text: str) -> float:
    """A number in (0, 1]."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, got {text!r}")
    return number


def _seed(text: str) -> int:
    """An integer that NumPy's legacy generator, which MindArmour draws from, takes too."""
    seed = _whole(text)
    if seed >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number below 2**32, got {text}")
    return seed
