"""Every block on every page runs as it stands there, and every command in running text is one."""

import re

import pytest
from commands import parser_of, takes, words_of
from pages import DIRECTIVE, PROMPT, ROOT, all_pages
from settings import EXEMPT, PAGES

BLOCKS = [
    block
    for page in all_pages()
    for block in page.blocks
    # What README.md says in English is run there.
    if block.language not in ("text", DIRECTIVE) and block.page != "README_CN.md"
]


def test_both_readmes_have_the_same_code():
    """But for comments, which each has in its language."""
    pages = {page.name: page for page in all_pages()}
    english, chinese = (
        [re.sub(r" +#.*", "", block.text) for block in pages[name].blocks if block.language not in ("text", DIRECTIVE)]
        for name in ("README.md", "README_CN.md")
    )
    assert [text for text in chinese if text not in english] == []
    assert len(chinese) > 5


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_runs(block, reader):
    reader(block.page).read_to(block)


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_every_block_says_its_language(page):
    assert [str(block) for block in page.blocks if not block.language] == []


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_nothing_to_run_is_called_text(page):
    """A prompt or an import in a block that nobody runs is one that got away."""
    looks_like_code = re.compile(rf"^(?:{PROMPT.pattern}|import \w+$|from [\w.]+ import )", re.MULTILINE)
    texts = [block for block in page.blocks if block.language == "text"]
    assert [str(block) for block in texts if looks_like_code.search(block.text)] == []


def test_there_is_something_to_run():
    assert len(BLOCKS) > 40
    assert {block.language for block in BLOCKS} >= {"python", "console", "toml"}


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_is_of_a_page_and_needed(name):
    assert name in [page.name for page in all_pages()]
    (page,) = (page for page in all_pages() if page.name == name)
    for part in (*PAGES[name].before, *PAGES[name].exempt):
        assert any(part in block.text for block in page.blocks), part


@pytest.mark.parametrize("part", EXEMPT)
def test_no_exemption_outlives_its_command(part):
    commands = [command for block in BLOCKS if block.language in ("console", "bash") for command in block.commands]
    assert any(part in command.text for command in commands)


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_commands_in_running_text_are_commands(page):
    for code in page.inline:
        # An optional part is no command, and files of configuration are not there.
        if not re.match(r"(mindefense [a-z]|python \w+/\w+\.py)", code) or re.search(r"\[|--config|…|\.\.\.", code):
            continue
        program, *words = words_of(code)
        if program == "mindefense" and len(words) == 1:  # its name alone, which may want arguments
            words.append("--help")
        if (found := parser_of([program, *words])) is not None:
            parse, arguments = found
            assert takes(parse, arguments), code
        else:
            script = (ROOT / words[0]).read_text(encoding="utf-8")
            assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in script] == [], code
