"""Every command: its help text, two examples, its arguments, and the function that runs it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from mindefense import __version__, arguments
from mindefense.arguments import EXIT_CODES, Parser
from mindefense.cli import studies, tools
from mindefense.cli.outcome import Outcome

Adder = Callable[[argparse.ArgumentParser], None]


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        summary: What it does, and the files that it writes, for the list of commands.
        text: Introduction to the command, shown above its options.
        examples: Command lines, each with its purpose.
        work: The function that runs the command.
        adders: Functions that add its arguments.
    """

    summary: str
    text: str
    examples: tuple[tuple[str, str], ...]
    work: Callable[[argparse.Namespace], Outcome | None]
    adders: tuple[Adder, ...]


def _recordable_folder(parser: argparse.ArgumentParser) -> None:
    arguments.add_folder_argument(parser, recorded=True)


def _alone(parser: argparse.ArgumentParser) -> None:
    arguments.add_common_arguments(parser, shares=False)


def _demonstration(parser: argparse.ArgumentParser) -> None:
    arguments.add_common_arguments(parser, shares=False, of_study=False)


_STUDY = (arguments.add_study_arguments, arguments.add_training_arguments, arguments.add_image_arguments)
_FOLDER, _RESUME = arguments.add_folder_argument, arguments.add_resume_argument
_COMMON, _SHARED = arguments.add_common_arguments, arguments.add_shared_arguments

COMMANDS = {
    "demo": Command(
        "a first look: a whole study of synthetic data in two minutes → runs/demo/report.html",
        "Trains a target on synthetic rows like Location's, defends it with DefenMI, attacks the target with and "
        "without the defense, and shows the results on the screen and on an HTML page. Needs no data and no network.",
        (
            ("mindefense demo", "train, attack, defend, attack again, report"),
            ("mindefense demo --out runs/first --seed 1", "another folder, other rows"),
        ),
        studies.demo,
        (arguments.add_demo_arguments, _demonstration),
    ),
    "run": Command(
        "all stages of a study, one after the other",
        "Trains the target, the attacker's shadow model and the defender's classifier, fits the defense, attacks the "
        "target with and without it, and reports. The commands below do the same in stages; each stage uses the files "
        "that the stages before it wrote to --out.",
        (
            ("mindefense run --data_path data/location --out runs/location", "Location, as published"),
            (
                "mindefense run --data_path data/location --defense memguard --attacks gap,nn,label-flips",
                "another defense, and three attacks",
            ),
        ),
        studies.run_study,
        (*_STUDY, arguments.add_evaluation_arguments, _COMMON),
    ),
    "train": Command(
        "the target model → target.ckpt",
        "Begins a study: writes data, split, seed and defense to study.json, and trains the target on its members.",
        (
            ("mindefense train --data_path data/location --out runs/location", "an MLP on Location, as published"),
            (
                "mindefense train --model vgg16 --data_path ./cifar-100-binary --image_size 32 --members 5000 --resume",
                "VGG16 on small images; continues an interrupted training",
            ),
        ),
        studies.train,
        (*_STUDY, _COMMON),
    ),
    "train-defender": Command(
        "the defender's classifier → defender.ckpt",
        "Trains the classifier that tells members from non-members for the defender, who knows the members. DefenMI "
        "and MemGuard move answers to where this classifier is undecided.",
        (
            ("mindefense train-defender --out runs/location", "after mindefense train"),
            ("mindefense train-defender --out runs/location --resume", "continue an interrupted training"),
        ),
        studies.train_defender,
        (_FOLDER, _RESUME, _alone),
    ),
    "train-shadow": Command(
        "the attacker's shadow model → shadow.ckpt",
        "Trains a model like the target on the attacker's own rows, so that the attacker knows its members. Attacks "
        "that are fitted on this model are then evaluated on the target.",
        (
            ("mindefense train-shadow --out runs/location", "after mindefense train"),
            ("mindefense train-shadow --out runs/location --resume", "continue an interrupted training"),
        ),
        studies.train_shadow,
        (_FOLDER, _RESUME, _alone),
    ),
    "train-shadows": Command(
        "a bank of the attacker's shadow models → shadows/*.ckpt",
        "Trains many models like the target, each on other rows. Attackers that compare the target with them find the "
        "most: LiRA, RMIA, and a classifier fitted on the bank. Online models are trained on half of the judged rows "
        "each, offline models on none of them.",
        (
            ("mindefense train-shadows --out runs/location --shadows 8", "after mindefense train"),
            ("mindefense train-shadows --out runs/location --shadows 32 --resume", "24 more models"),
        ),
        studies.train_shadows,
        (_FOLDER, arguments.add_bank_arguments, _RESUME, _COMMON),
    ),
    "defend": Command(
        "the defense and the reshaped vectors → defense.ckpt, defended.npz",
        "Fits the study's defense and reshapes the answers to the rows of the evaluation. With --outputs it reshapes "
        "recorded confidence vectors instead, any number of them.",
        (
            ("mindefense defend --out runs/location", "after mindefense train-defender"),
            (
                "mindefense defend --outputs big.npz --defense rounding=1 --out rounded",
                "recorded vectors, and a defense that needs no fitting",
            ),
        ),
        studies.defend,
        (_recordable_folder, arguments.add_bulk_arguments, _COMMON),
    ),
    "evaluate": Command(
        "every attacker before and after → results.json, report.html, report.md, attacks.csv, records.csv",
        "Attacks the target without its defense and behind it, both with static attackers, which do not know the "
        "defense, and with adaptive ones, and reports the strongest. With --outputs it evaluates recorded outputs of "
        "any framework.",
        (
            ("mindefense evaluate --out runs/location --strict --fail_above auc=0.6", "as a gate in a pipeline"),
            ("mindefense evaluate --outputs outputs.npz --out runs/mine", "a model of another framework"),
        ),
        studies.evaluate,
        (_recordable_folder, arguments.add_recorded_arguments, arguments.add_evaluation_arguments, _COMMON),
    ),
    "compare": Command(
        "many defenses on one target → comparison.json, comparison.html, comparison.md, comparison.csv",
        "Evaluates one defense after the other on the same target with the same attackers. Reports how well the "
        "strongest attacker does behind each, what each costs, and which defenses are dominated.",
        (
            ("mindefense compare --out runs/location --attacks confidence,shokri-label,label-flips", "all defenses"),
            (
                "mindefense compare --out runs/location --defenses defenmi,top-k=3 --training early-stopping=0.9",
                "two of them, and a target trained in another way",
            ),
            ("mindefense compare --outputs outputs.npz --out runs/mine", "a model of another framework"),
        ),
        studies.compare,
        (
            _recordable_folder,
            arguments.add_compared_outputs_arguments,
            arguments.add_comparison_arguments,
            arguments.add_attacker_arguments,
            arguments.add_evidence_arguments,
            _COMMON,
        ),
    ),
    "export": Command(
        "target and defense as one graph → guarded.mindir, guarded.json, guarded.key",
        "Writes target and defense as one MindIR graph that any host with MindSpore can run, and writes the secret key "
        "of the noise to a separate file.",
        (
            ("mindefense export --out runs/location", "the study's own defense"),
            (
                "mindefense export --out runs/location --defense defenmi@300 --batch_size dynamic --file_name bounded",
                "at most 300 steps a query, any number of rows at a time",
            ),
        ),
        tools.export,
        (_FOLDER, arguments.add_export_arguments, _alone),
    ),
    "report": Command(
        "a results or comparison file as one page for all readers → report.html, report.md",
        "Writes the page of an evaluation or comparison again; needs nothing but its results file.",
        (
            ("mindefense report runs/location/results.json", "into the folder of the file"),
            (
                "mindefense report runs/location/comparison.json --out for_the_customer --figures",
                "into another folder, with every picture as SVG and PNG",
            ),
        ),
        tools.report,
        (arguments.add_report_arguments, _SHARED),
    ),
    "diff": Command(
        "changes between two results that chance does not explain",
        "Compares every figure of every attacker that took part in both evaluations, and lists other differences: "
        "settings, versions, members, failed checks. If both folders have a records.csv and the rows are the same, "
        "AUCs are compared row by row, which finds smaller changes.",
        (
            ("mindefense diff runs/before runs/after", "two folders"),
            ("mindefense diff old.json new.json --fail_on_rise", "in a pipeline: stop if the newer one leaks more"),
        ),
        tools.diff,
        (arguments.add_diff_arguments, _SHARED),
    ),
    "download": Command(
        "fetch a public data set",
        "Downloads a data set from its authors' site, and compares it with its published digest.",
        (
            ("mindefense download location --to data/location", "Location: 5,010 rows of check-ins"),
            ("mindefense download cifar100 --to data", "CIFAR-100 in its binary version, as an archive"),
        ),
        tools.download,
        (arguments.add_download_arguments, _SHARED),
    ),
    "doctor": Command(
        "check that everything needed is installed and fits together",
        "Checks imports, versions, devices (by a small computation), data and output folders, and says how to correct "
        "each problem.",
        (
            ("mindefense doctor", "check"),
            ("mindefense doctor --data_path data/location --json", "check data too; JSON for a script"),
        ),
        tools.doctor,
        (arguments.add_doctor_arguments, _SHARED),
    ),
    "completion": Command(
        "a script that completes commands, options and files in a shell",
        "Prints a script for the shell. For bash, add the line of the first example to ~/.bashrc; for zsh, write the "
        "output to a folder of its fpath.",
        (
            ('eval "$(mindefense completion bash)"', "in this shell"),
            ("mindefense completion zsh > ~/.zfunc/_mindefense", "for zsh, with ~/.zfunc in its fpath"),
        ),
        tools.completion,
        (arguments.add_completion_arguments,),
    ),
}


def build_parser() -> Parser:
    """The whole command line."""
    first = (("mindefense demo", "a first look"), *COMMANDS["run"].examples[:1])
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = Parser(
        prog="mindefense",
        description="How much does a model reveal about its training data, and what does a defense change?",
        epilog=f"{_shown(first)}\n\nexit codes:\n{codes}",
    )
    parser.add_argument("--version", action="version", version=f"mindefense {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    siblings: dict[str, Parser] = {}
    for name, command in COMMANDS.items():
        siblings[name] = added = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.text}",
            epilog=_shown(command.examples),
        )
        for add in command.adders:
            add(added)
        added.set_defaults(command=command.work, stage=name)
        added.siblings = siblings
    return parser


def _shown(examples: Sequence[tuple[str, str]]) -> str:
    return "examples:\n" + "\n".join(f"  {typed}\n      {meaning}" for typed, meaning in examples)
