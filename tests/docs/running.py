"""Runs the blocks of a page as a reader would, in one folder and one namespace, with commands made small."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from commands import parser_of, shrunk, words_of
from pages import DIRECTIVE, ROOT, Block, Command, Page

from mindefense.arguments import EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_STRICT
from mindefense.attacks.registry import ATTACKS
from mindefense.cli import main
from mindefense.evaluation import Policy

if TYPE_CHECKING:
    from brought import Shelf
    from settings import Setting

PROGRAMS = ("cat", "cmp", "cp", "grep", "head", "ls", "mkdir", "sha256sum", "tar")
"""Other programs that a page may call. What it says of installing, of git or of the network cannot run here."""
COPIED = ("examples", "benchmarks", "docs")
"""Folders of a fresh copy of the repository that commands on pages name."""
_WORD = re.compile(r"[A-Za-z][\w-]*")


class Reader:
    """Somebody who goes through a page from top to bottom and does what stands there.

    Attributes:
        page: What is read.
        folder: Where it is done.
        shelf: What it shares with other readers.
        patch: What is patched while it is at work.
        names: The namespace of the Python blocks.
        said: Line of a command or Python block on the page → what it printed.
        codes: Line of a command → the exit code it ended with.
    """

    def __init__(self, page: Page, folder: Path, setting: Setting, exempt: Mapping[str, str], shelf: Shelf) -> None:
        self.page, self.folder, self.shelf = page, folder, shelf
        # A module with a file, which nobody edits meanwhile: MindSpore compiles a Cell from its source.
        self._module = ModuleType(f"page_{re.sub(r'[^a-z]', '_', page.name.lower())}")
        self.names: dict[str, Any] = vars(self._module)
        self.names["__file__"] = str(folder / page.name)
        self.patch: pytest.MonkeyPatch
        self.said: dict[int, str] = {}
        self.codes: dict[int, int] = {}
        self._setting, self._exempt = setting, exempt
        self._done, self._failed, self._came = 0, None, False

    def arrive(self) -> None:
        """Puts what the reader has into its folder."""
        if self._came:
            return
        self._came = True
        for name in COPIED:
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("_*"), dirs_exist_ok=True)
        (self.folder / self.page.name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / self.page.name).write_text(self.page.text, encoding="utf-8")
        with self.at_work():
            for bring in self._setting.has:
                bring(self)

    def read_to(self, block: Block) -> None:
        """Runs all blocks up to this one that have not been run yet."""
        self.arrive()
        while self._done <= self.page.blocks.index(block):
            if self._failed is not None:
                pytest.fail(f"not reached: {self._failed} did not run", pytrace=False)
            current = self.page.blocks[self._done]
            with self.at_work():
                try:
                    self._run(current)
                except BaseException:
                    self._failed = current
                    raise
            self._done += 1

    def read(self) -> Reader:
        """Runs all blocks."""
        if self.page.blocks:
            self.read_to(self.page.blocks[-1])
        return self

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """In the reader's folder, with its patches."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("HOME", str(self.folder))
            patch.setitem(sys.modules, self._module.__name__, self._module)
            self.shelf.lend(patch)
            patch.setattr("mindefense.cli.studies.DEMO_ATTACKS", ("gap", "confidence"))
            self.patch = patch
            yield

    def _run(self, block: Block) -> None:
        for part, prepare in self._setting.before.items():
            if part in block.text:
                prepare(self)
        run = {
            "python": self._run_python,
            "console": self._run_commands,
            "bash": self._run_commands,
            "toml": self._read_configuration,
            "ini": self._read_configuration,
            "json": lambda block: json.loads(block.text),
            "text": lambda block: None,
            DIRECTIVE: lambda block: None,
        }.get(block.language)
        if run is None:
            pytest.fail(f"{block}: nothing is known to run a block of {block.language or 'no language'!r}", False)
        if not any(part in block.text for part in self._exempt) or block.language in ("console", "bash"):
            run(block)

    # ---------------------------------------------------------------- languages

    def _run_python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, self.names["__file__"], "exec")
        with self._listen() as heard:
            exec(code, self.names)
        self.said[block.line] = heard.getvalue()

    def _read_configuration(self, block: Block) -> None:
        """Writes the file that the first line names, and reads it for every command that it has a table for."""
        named = re.match(r"[#;] *(\S+\.(?:toml|ini))\b", block.text)
        assert named, f"{block}: expected a first line that names the file, such as # study.toml"
        (self.folder / named[1]).write_text(block.text, encoding="utf-8")
        if block.text.partition("\n")[0].endswith(": a policy"):
            Policy.read(self.folder / named[1])
        elif block.language == "toml":
            tables = re.findall(r"^\[([\w-]+)\]", block.text, re.MULTILINE)
            for table in tables or ["run"]:
                script = ROOT / "examples" / f"{table}.py"
                program = f"python examples/{table}.py" if script.is_file() else f"mindefense {table}"
                self._parse(Command(str(block), f"{program} --config {named[1]}", ()))

    def _run_commands(self, block: Block) -> None:
        commands = block.commands
        assert commands, f"{block}: no line begins with a prompt"
        for command, following in zip(commands, [*commands[1:], None], strict=True):
            if any(part in command.text for part in self._exempt):
                self._parse(command)
                continue
            args = self._parse(command)
            line = int(command.place.rpartition(":")[2])
            if command.bare == "echo $?":
                continue  # it told what was expected of the command before
            with self._listen() as heard:
                code = self._do(command.bare)
            self.said[line], self.codes[line] = heard.getvalue(), code
            if following is not None and following.bare == "echo $?":
                expected: tuple[int, ...] = (int(following.prints[0]),)
            else:
                judges = (
                    getattr(args, "strict", False) or getattr(args, "fail_above", None) or getattr(args, "policy", None)
                )
                expected = (0, EXIT_STRICT, EXIT_GATE, EXIT_INCONCLUSIVE) if judges else (0,)
            if code not in expected:
                pytest.fail(f"{command.place}: `{command.text}` ended with {code}:\n{self.said[line]}", pytrace=False)
            if unsaid := self._unsaid(command, self.said[line]):
                pytest.fail(f"{command.place}: printed no {' '.join(unsaid)}, but:\n{self.said[line]}", pytrace=False)

    # ---------------------------------------------------------------- commands

    def _parse(self, command: Command) -> argparse.Namespace | None:
        """As it stands there; files of a configuration that nobody made here are passed over."""
        found = parser_of(words_of(command.bare.partition(" | ")[0].partition(" > ")[0]))
        if found is None:
            return None
        parse, arguments = found
        if "--config" in arguments and not (self.folder / arguments[arguments.index("--config") + 1]).is_file():
            return None
        with contextlib.redirect_stderr(io.StringIO()) as complaint, contextlib.redirect_stdout(io.StringIO()):
            try:
                return parse(arguments)
            except SystemExit as stop:
                if stop.code:
                    pytest.fail(f"{command.place}: {complaint.getvalue()}", pytrace=False)
        return None

    def _do(self, text: str) -> int:
        """Does one line, in which ``&&`` may join commands and the output of ours may go to a file, pipe or shell."""
        here, code = os.getcwd(), 0
        for part in re.split(r"\s+&&\s+", text):
            if evaluated := re.fullmatch(r"""(?:eval "\$|source <)\((.+)\)"?""", part):
                part = f"{evaluated[1]} | bash"
            ours, _, rest = re.match(r"([^|>]*?)(\s*([|>].*))?$", part).groups()
            words = words_of(ours)
            if words[0] == "cd":
                os.chdir(words[1])
            elif parser_of(words) is not None:
                with io.StringIO() if rest else contextlib.nullcontext(sys.stdout) as out:
                    with contextlib.redirect_stdout(out):
                        code = self._do_ours(words)
                    if rest and not code:
                        code = self._do_other(f"cat {rest}", given=out.getvalue())
            elif words[0] in ("python", sys.executable) and (ROOT / words[1]).is_file():
                code = self._run_script(words[1], words[2:])
            elif words[0] in PROGRAMS or words[:2] == ["python", "-c"]:
                code = self._do_other(part)
            else:
                pytest.fail(f"{self.page.name}: nothing is known to run `{part}`; see settings.EXEMPT", False)
            if code:
                break
        os.chdir(here)
        return code

    def _do_ours(self, words: list[str]) -> int:
        parse, arguments = parser_of(words) or pytest.fail(str(words))
        if "--help" not in arguments:
            arguments = shrunk(parse, arguments)
        if words[0] == "mindefense":
            try:
                return main(arguments)
            except SystemExit as stop:
                return int(stop.code or 0)
        return self._run_script(words[1], arguments)

    def _run_script(self, script: str, arguments: list[str]) -> int:
        with mock.patch.object(sys, "argv", [script, *arguments]):
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            except SystemExit as stop:
                return int(stop.code or 0)
        return 0

    def _do_other(self, text: str, given: str = "") -> int:
        text = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", text)
        done = subprocess.run(["bash", "-c", text], input=given, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr)
        return done.returncode

    # ---------------------------------------------------------------- what is printed

    @contextlib.contextmanager
    def _listen(self) -> Iterator[io.StringIO]:
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            yield heard

    def _unsaid(self, command: Command, said: str) -> list[str]:
        """Words that the page shows below a command and that it did not print.

        Figures may differ, and so may lines about an attacker which was left out to save time.
        """
        heard = set(_WORD.findall(said))
        left_out = set(ATTACKS) - heard
        lines = [line for line in command.prints if not {*line.split()[:1]} & left_out]
        return [word for line in lines for word in _WORD.findall(line) if len(word) > 2 and word not in heard]
