"""Commands as pages have them: what parses them, and the same made small enough for a test."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

from pages import ROOT

from mindefense.cli import build_parser

CHEAP = ("gap", "confidence", "max-confidence", "entropy", "loss", "label-noise")
"""Attackers that take no time."""
SIZES = {
    "--epochs": 2,
    "--warmup_epochs": 1,
    "--members": 200,
    "--num_samples": 100,
    "--image_size": 32,
    "--max_queries": 20,
}
"""The most that is asked for in a test."""
WHEN_SILENT = {"--smoke": None, "--attacks": "gap,confidence", "--defenses": "defenmi,label-only", "--epochs": "2"}
"""Options that every command gets which takes them and does not have them, the last one if a file says more."""
STARTERS = ("python", ".venv/bin/python", "msrun")
"""What may stand before a program of ours."""

Parse = Callable[[list[str]], argparse.Namespace]
"""Takes arguments; raises SystemExit if they are wrong."""


def shrunk(parse: Parse, words: Sequence[str]) -> list[str]:
    """The arguments of a command, made small enough for a test.

    Numbers are cut to `SIZES`, `WHEN_SILENT` is added, and of attackers, defenses and ways to train that are named, the
    cheap ones or the first are kept. Nothing is changed that says which files are read or written, or what is shown.

    Args:
        parse: Takes them.
        words: What follows the program's name.
    """
    given = {word.partition("=")[0] for word in words}
    words = [part for word in words for part in (word.split("=", 1) if re.match(r"--\w+=", word) else [word])]
    for at, (option, value) in enumerate(itertools.pairwise(words), 1):
        option = "--" + option[2:].replace("-", "_") if option.startswith("--") else option
        if option in SIZES:
            words[at] = str(min(int(value), SIZES[option]))
        elif option == "--width_multiplier":
            words[at] = "0.125"
        elif option == "--attacks":
            words[at] = ",".join(name for name in value.split(",") if name in CHEAP) or "gap"
        elif option in ("--defenses", "--training"):
            words[at] = ",".join(value.split(",")[: 2 if option == "--defenses" else 1])
    for option, value in WHEN_SILENT.items():
        added = [option] if value is None else [option, value]
        if option not in given and (option != "--epochs" or "--config" in given) and takes(parse, [*words, *added]):
            words += added
    return words


def takes(parse: Parse, words: list[str]) -> bool:
    """Whether these arguments are right, as those of ``--help`` are."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            parse(words)
        except SystemExit as stop:
            return not stop.code
    return True


def parser_of(words: Sequence[str]) -> tuple[Parse, list[str]] | None:
    """What parses a command of ours, and its arguments; None for other programs.

    Words before the program's name, such as those of msrun, are passed over.
    """
    for at, word in enumerate(words):
        if at and words[0] not in STARTERS:
            break
        if word in ("mindefense", "$(which mindefense)"):
            return build_parser().parse_args, list(words[at + 1 :])
        if re.fullmatch(r"examples/\w+\.py", word):
            return functools.partial(_parse_in, load(ROOT / word)), list(words[at + 1 :])
    return None


def _parse_in(example: ModuleType, given: list[str]) -> argparse.Namespace:
    with mock.patch.object(sys, "argv", [example.__name__, *given]):
        return example.parse_args()


def load(script: Path) -> ModuleType:
    """A script as a module, without running it."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(text: str) -> list[str]:
    """The words of a command; ``$(which mindefense)`` is one of them."""
    return shlex.split(text.replace("$(which mindefense)", "'$(which mindefense)'"), comments=True)
