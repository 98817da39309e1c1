"""Parsing of arguments: one-line errors with the nearest valid word, options in both spellings, and files."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mindefense.arguments.choices import EXIT_MISTAKE
from mindefense.configuration import spelled, with_configuration
from mindefense.errors import InputError, did_you_mean


class Formatter(argparse.HelpFormatter):
    """Fills paragraphs, and keeps lines that begin with a space, such as examples, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = [line if line.startswith(" ") else textwrap.fill(line, width) for line in text.strip().splitlines()]
        return "\n".join(indent + line for line in lines)


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, accepts no abbreviated options, and reads the file of ``--config``, if given."""

    siblings: Mapping[str, Parser]
    """Parsers of the other commands, by name: a file of ``--config`` may have tables for them."""

    def __init__(self, *, formatter_class: type[argparse.HelpFormatter] = Formatter, **settings):
        super().__init__(formatter_class=formatter_class, allow_abbrev=False, **settings)
        self.siblings = {}

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, with the options of a ``--config`` file in front of the typed ones.

        Refuses unknown options and names the nearest valid one. Refuses ``--max_steps`` with a defense that does not
        search. The namespace's ``typed`` is the command line as typed, for the record.
        """
        typed = sys.argv[1:] if args is None else args
        try:
            args = with_configuration(self, spelled(self, typed))
        except InputError as error:
            self.error(str(error))
        self._refuse_unknown(args)
        known, others = super().parse_known_args(args, namespace)
        if others:
            place = args.index(others[0]) if others[0] in args else 0
            hint = "; names are written with commas and no blanks" if place and args[place - 1].endswith(",") else ""
            self.error(f"unrecognized arguments: {' '.join(others)}{hint}")
        if getattr(known, "max_steps", None) is not None and not _searches(known.defense):
            self.error(f"--max_steps: expected a defense that searches, got {known.defense}; drop it")
        if self._subparsers is None:
            known.typed = _as_typed(self.prog, typed)
        return known, others

    def _refuse_unknown(self, args: Sequence[str]) -> None:
        """Runs before argparse reports missing options, since a misspelled option is the usual cause."""
        if self._subparsers is not None:  # the command's own parser checks the words after its name
            return
        options = {name.lstrip("-") for name in self._option_string_actions if name.startswith("--")}
        for place, word in enumerate(args):
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and name.lstrip("-") not in options:
                near = did_you_mean(name.lstrip("-"), options, mark="--")
                following = [other for other in args[place + 1 : place + 2] if not other.startswith("-")]
                typed = " ".join([word, *following])
                self.error(f"unrecognized arguments: {typed}" + (f"; {near}" if near else ""))

    def _check_value(self, action: argparse.Action, value) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            near = did_you_mean(str(value), names)
            said = f"expected one of {', '.join(names)}, got {value!r}" + (f"; {near}" if near else "")
            raise argparse.ArgumentError(action, said)

    def error(self, message: str) -> NoReturn:
        """Prints it and leaves with exit code 2."""
        complain(self.prog, f"{message} (see {self.prog} --help)")
        self.exit(EXIT_MISTAKE)


def _as_typed(program: str, words: Sequence[str]) -> str:
    """A command line with file names in place of absolute paths, which are private."""
    named = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        named.append(option + equals + (os.path.basename(value.rstrip(os.sep)) if os.path.isabs(value) else value))
    return shlex.join([*program.split(), *named])


def complain(program: str, message: str) -> None:
    """Prints one line on stderr; on a terminal the word ``error`` is red."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:  # `mindefense doctor` must work without rich, since it reports what is missing
            pass
        else:
            line = Text.assemble(f"{program}: ", ("error", "bold red"), f": {message}")
            Console(stderr=True, soft_wrap=True).print(line)
            return
    print(f"{program}: error: {message}", file=sys.stderr)


def _searches(defense: str) -> bool:
    """Whether this defense, whose name is valid, searches."""
    from mindefense.defenses.registry import NONE, DefenseSpec

    return defense != NONE and DefenseSpec.parse(defense).searches
