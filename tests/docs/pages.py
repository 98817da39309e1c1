"""Every page of the documentation, and the code on it, which the tests run as a reader would.

To have a page run, write it. README.md, README_CN.md and all of docs/ are found by themselves.

- Give every fenced block a language. `python` runs, all blocks of a page in one namespace; so does every line of a
  `console` block that begins with `$ `. What stands below such a line is what it prints: its words must be printed,
  figures may differ. `bash` is a console without prompts. `toml` and `ini` begin with a comment that names the file
  (`# study.toml`), which is written, and read as `--config` would. `json` is parsed. `text` is not looked at.
- Blocks run from top to bottom, in one folder that looks like a fresh copy of the repository.
- Write commands as a reader needs them. `commands.shrunk` makes them small enough for a test: `--smoke`, few epochs,
  few attackers. Data sets are made up, and `mindefense download` fetches them from this machine. A command must end
  with 0 (with `--strict` and gates also 3 or 4), or with what a line `$ echo $?` below it shows.
- What the reader brings along (a `net`, a study in runs/location, a file) is declared in `settings.PAGES`.
- What cannot run here stands in `settings.EXEMPT` with the reason. An entry that no page needs is a failure.
- `python -m pytest tests/docs -k your_page.md` runs it. What a page's blocks leave behind is there for further tests:
  see `reader` in conftest.py.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"\{(?:code|code-block|code-cell)\} *(\w+)")
"""A directive of Sphinx that is a block of code; others, such as ``{toctree}``, are for `make docs` to check."""
DIRECTIVE = "directive"
PROMPT = re.compile(r"\w*\$ ")


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of its page from the root of the repository.
        line: Line of its first line of code on the page, from 1.
        language: What its fence says; empty if nothing.
        heading: The heading that it stands under.
        text: What is in it.
    """

    page: str
    line: int
    language: str
    heading: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        """The commands of a console or bash block, with what the page says that they print."""
        found: list[Command] = []
        goes_on = False
        for number, line in enumerate(self.text.splitlines(), self.line):
            if self.language != "console" and line.startswith("#"):
                continue
            prompt = PROMPT.match(line)
            if goes_on:
                found[-1] = dataclasses.replace(found[-1], text=found[-1].text[:-1].rstrip() + " " + line.strip())
            elif prompt or (self.language != "console" and line.strip()):
                found.append(Command(f"{self.page}:{number}", line[prompt.end() :] if prompt else line, ()))
            elif found and line.strip():
                found[-1] = dataclasses.replace(found[-1], prints=(*found[-1].prints, line))
            elif line.strip():
                raise ValueError(f"{self.page}:{number} is in a console block and below no command: {line}")
            goes_on = (goes_on or prompt is not None or self.language != "console") and line.endswith("\\")
        return found


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: where it stands, what is typed, and what the page says that it prints."""

    place: str
    text: str
    prints: tuple[str, ...]

    @functools.cached_property
    def bare(self) -> str:
        """What is typed, without a comment behind it."""
        return re.sub(r"\s+# .*$", "", self.text)


@dataclasses.dataclass(frozen=True)
class Page:
    """A page: its path from the root of the repository, its text, and what is code in it."""

    name: str
    text: str

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All of its blocks of code, indented ones included, which have no language."""
        return tuple(self._blocks())

    @functools.cached_property
    def inline(self) -> tuple[str, ...]:
        """What stands between backticks in running text."""
        children = (child for token in self._tokens for child in token.children or ())
        return tuple(child.content for child in children if child.type == "code_inline")

    @functools.cached_property
    def sections(self) -> dict[str, str]:
        """Heading of the second level → the text below it."""
        return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", self.text, re.DOTALL | re.MULTILINE))

    def under(self, heading: str, language: str = "python") -> list[Block]:
        """The blocks of one language under a heading, which must have some."""
        found = [block for block in self.blocks if (block.heading, block.language) == (heading, language)]
        assert found, f"{self.name} has no {language} under {heading!r}"
        return found

    @functools.cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def _blocks(self) -> Iterator[Block]:
        heading = ""
        for before, token in zip([None, *self._tokens], self._tokens):  # noqa: B905  the last one has no successor
            if before is not None and before.type == "heading_open":
                heading = token.content
            if token.type in ("fence", "code_block") and token.map is not None:
                is_fence = token.type == "fence"
                code = CODE.match(token.info)
                language = code[1] if code else DIRECTIVE if token.info.startswith("{") else token.info.strip()
                yield Block(self.name, token.map[0] + 1 + is_fence, language, heading, token.content)


@functools.cache
def page(name: str) -> Page:
    """A page by its path from the root of the repository."""
    return Page(name, (ROOT / name).read_text(encoding="utf-8"))


def all_pages() -> list[Page]:
    """Every page that people read; what a build of the site leaves in folders with an underscore is none."""
    below = (path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*.md")))
    found = [path.as_posix() for path in below if not any(part.startswith(("_", ".")) for part in path.parts)]
    return [page(name) for name in ("README.md", "README_CN.md", *found) if (ROOT / name).is_file()]
