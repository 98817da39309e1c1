"""What would be wrong on a page is found, and what is right is not."""

import re

import commands
import pytest
from once import digest
from pages import Page
from running import Reader
from settings import Setting

from mindefense.cli import build_parser
from mindefense.keyed_noise import KeyedNoise


def block(language, *lines):
    return "\n".join((f"```{language}", *lines, "```", ""))


HELLO = "$ python -c \"print('hello 12 world')\""
RIGHT = {
    "at home": block("console", "$ mindefense --version > ~/version", "$ cat version", "mindefense"),
    "python": block("python", "x = 1") + "text\n\n" + block("python", "assert x == 1"),
    "indented in a list": "- item\n\n  " + block("python", "x = 1").replace("\n", "\n  "),
    "sphinx": block("{code-block} python", "x = 1") + block("{toctree}", "nothing"),
    "output": block("console", HELLO, "hello 13 world"),
    "output of an attacker left out": block("console", HELLO, "loss   nothing here", "hello 13 world"),
    "two lines": block("console", "$ python -c \\", "    \"print('hello')\"", "hello"),
    "several": block("console", "$ mkdir x && cd x && ls", "$ ls", "examples", "x"),
    "exit code": block("console", '$ python -c "raise SystemExit(3)"', "$ echo $?", "3"),
    "our exit code": block("console", "$ mindefense report nowhere.json", "$ echo $?", "2"),
    "into a file": block("console", "$ mindefense --version > version", "$ cat version", "mindefense"),
    "into a pipe": block("console", "$ mindefense --help | grep -c usage"),
    "into this shell": block("bash", 'eval "$(mindefense completion bash)"'),
    "bash": block("bash", "# a comment", "mkdir x", "", "ls x"),
    "toml": block("toml", "# my.toml", "seed = 1", "[train]", "epochs = 3"),
    "toml of an example": block("toml", "# my.toml", "[location_defense]", "seed = 3"),
    "json": block("json", '{"a": 1}'),
    "text": block("text", "anything $"),
}
WRONG = {
    "python": (block("python", "x = 1") + block("python", "assert x == 2"), "assert x == 2|AssertionError|^$"),
    "python later": (block("python", "x = ") + block("python", "y = 1"), "invalid syntax"),
    "other words": (block("console", HELLO, "hello 13 work"), "page.md:2: printed no work, but"),
    "an attacker's name in a line": (block("console", HELLO, "mind the loss nothing here"), "printed no mind the loss"),
    "part of a word": (block("console", HELLO, "ello 12 world"), "printed no ello, but"),
    "exit code": (block("console", HELLO, '$ python -c "exit(3)"'), r"page.md:3: `python .*` ended with 3"),
    "another exit code": (block("console", '$ python -c "exit(3)"', "$ echo $?", "4"), "ended with 3"),
    "a joined command": (block("console", "$ ls nowhere && ls"), "ended with 2"),
    "into no shell": (block("bash", 'eval "$(mindefense completion cmd)"'), "completion"),
    "into a pipe": (block("console", "$ mindefense --version | grep nothing"), "ended with 1"),
    "no such option": (block("console", "$ mindefense run --sed 3"), "page.md:2: .*--sed"),
    "no such script": (block("console", "$ python examples/nothing.py"), "No such file|nothing is known"),
    "unknown program": (block("console", "$ conda install x"), "nothing is known to run `conda install x`"),
    "output of nothing": (block("console", "hello"), "below no command"),
    "unknown language": (block("rust", "let x = 1;"), "page.md:2: nothing is known to run a block of 'rust'"),
    "no language": (block("", "x = 1"), "no language"),
    "toml": (block("toml", "# my.toml", "[train]", "epoch = 3"), "epoch"),
    "toml without a name": (block("toml", "seed = 3"), "names the file"),
    "json": (block("json", "{'a': 1}"), "Expecting property name"),
}


@pytest.fixture
def read(shelf, tmp_path):
    def run(text):
        return Reader(Page("page.md", text), tmp_path, Setting(), {"exempt": "for a test"}, shelf).read()

    return run


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_right(text, read):
    read(text)


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_wrong(text, words, read):
    with pytest.raises((Exception, pytest.fail.Exception), match=words):
        read(text)


def test_blocks_below_one_that_failed_fail_too(read, shelf, tmp_path):
    page = Page("page.md", block("python", "1 / 0") + block("python", "x = 1"))
    reader = Reader(page, tmp_path, Setting(), {}, shelf)
    with pytest.raises(ZeroDivisionError):
        reader.read_to(page.blocks[0])
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:2 did not run"):
        reader.read_to(page.blocks[1])


def test_exempt_commands_are_parsed_all_the_same(read):
    read(block("console", "$ conda exempt", "$ mindefense run --out exempt"))
    with pytest.raises(pytest.fail.Exception, match="--sed"):
        read(block("console", "$ msrun --x examples/location_defense.py --sed exempt"))


def test_failures_name_the_line_on_the_page(read):
    with pytest.raises(ZeroDivisionError) as error:
        read("# Title\n\n" + block("python", "x = 1", "1 / 0"))
    assert re.search(r"page\.md:5\b", str(error.getrepr(style="short")))


SHRUNK = {
    "run --out x": "run --out x --smoke --attacks gap,confidence",
    "train --epochs 400 --members=50000": "train --epochs 2 --members 200 --smoke",
    "evaluate --out x --attacks nn,loss,label-flips": "evaluate --out x --attacks loss",
    "evaluate --out x --attacks nn": "evaluate --out x --attacks gap",
    "compare --out x": "compare --out x --attacks gap,confidence --defenses defenmi,label-only",
    "compare --out x --defenses memguard,top-k=3,rounding=1 --training early-stopping=0.9,dp=1":
        "compare --out x --defenses memguard,top-k=3 --training early-stopping=0.9 --attacks gap,confidence",
    "train-shadow --out x": "train-shadow --out x",
    "demo --seed 3": "demo --seed 3 --smoke",
    "run --model vgg16 --data_path . --pre_trained x --num_samples 10":
        "run --model vgg16 --data_path . --pre_trained x --num_samples 10 --smoke --attacks gap,confidence",
}  # fmt: skip


@pytest.mark.parametrize(("text", "small"), SHRUNK.items())
def test_commands_are_made_small(text, small):
    assert commands.shrunk(build_parser().parse_args, text.split()) == small.split()


def test_a_fingerprint_knows_keys_that_no_repr_shows():
    one, other = KeyedNoise(b"1" * 32, 1.0), KeyedNoise(b"2" * 32, 1.0)
    assert repr(one) == repr(other)
    assert digest(one) != digest(other)
    assert re.fullmatch("[0-9a-f]{64}", digest(one))
