"""A room imports from itself and from the floors below it, and the rooms of NumPy do without MindSpore."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mindefense

ROOT = Path(mindefense.__file__).parent
FLOORS = [
    ("errors", "lazy"),
    ("types", "files", "checks", "confidence", "keyed_noise", "subprocesses", "progress"),
    ("runtime", "ranks", "data", "models", "images", "metrics"),
    ("checkpoint",),
    ("targets",),
    ("training",),
    ("private",),
    ("defenses", "attacks"),
    ("evaluation", "serving", "configuration", "doctor"),
    ("study",),
    ("reports", "arguments"),
    ("cli",),
    ("__main__",),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_MINDSPORE = [
    "mindefense",
    "mindefense.types",
    "mindefense.errors",
    "mindefense.lazy",
    "mindefense.checks",
    "mindefense.confidence",
    "mindefense.files",
    "mindefense.keyed_noise",
    "mindefense.metrics",
    "mindefense.data",
    "mindefense.serving",
    "mindefense.serving.manifest",
    "mindefense.reports",
    "mindefense.reports.console",
    "mindefense.reports.results",
    "mindefense.reports.report",
    "mindefense.reports.notebook",
    "mindefense.reports.checkup",
    "mindefense.targets",
    "mindefense.targets.base",
    "mindefense.targets.function",
    "mindefense.targets.kinds",
    "mindefense.targets.torch",
    "mindefense.attacks",
    "mindefense.attacks.registry",
    "mindefense.evaluation.scenario",
    "mindefense.evaluation.runner",
    "mindefense.evaluation.config",
    "mindefense.study",
    "mindefense.study.config",
    "mindefense.study.registry",
    "mindefense.attacks.metric",
    "mindefense.attacks.classifier",
    "mindefense.attacks.stacked",
    "mindefense.attacks.label_only",
    "mindefense.attacks.averaging",
    "mindefense.defenses.target",
    "mindefense.subprocesses",
    "mindefense.configuration",
    "mindefense.doctor",
    "mindefense.defenses",
    "mindefense.defenses.search",
    "mindefense.defenses.driver",
    "mindefense.arguments",
    "mindefense.cli",
]


def imports(path):
    """Modules that a file imports anywhere, inside functions and for type checkers too, and the lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            if node.module == "mindefense":
                for alias in node.names:
                    yield f"mindefense.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno


def room_of(module):
    """The room of ``mindefense.data.table`` is ``data``; modules elsewhere have none."""
    package, *rooms = module.split(".")
    return rooms[0] if package == "mindefense" and rooms else None


def climbs(root):
    """Imports of a room on the same floor or above."""
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).with_suffix("").parts
        if inside == ("__init__",):  # the front door opens on everything
            continue
        for module, line in imports(path):
            room = room_of(module)
            if room is None or room == inside[0] or room == "__version__":
                continue
            if FLOOR[room] >= FLOOR[inside[0]]:
                found.append(f"{'/'.join(inside)}.py:{line} imports {module}")
    return found


def named(root):
    """Modules of ours that a file names in a call of `import_module`, which no import statement shows."""
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                found |= {(path.relative_to(root).as_posix(), argument.value) for argument in node.args
                          if isinstance(argument, ast.Constant) and room_of(str(argument.value))}  # fmt: skip
    return found


def importers(root, package):
    return {path.relative_to(root).as_posix() for path in root.rglob("*.py") for module, _ in imports(path)
            if module.split(".")[0] == package}  # fmt: skip


def test_every_room_has_a_floor():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} <= set(FLOOR)


def test_rooms_import_from_below():
    assert climbs(ROOT) == []


def test_one_room_above_is_imported_by_its_name():
    assert named(ROOT) == {("types/results.py", "mindefense.reports.notebook")}


def test_a_room_that_is_imported_by_its_name_is_noticed(tmp_path):
    (tmp_path / "x.py").write_text("import importlib\nimportlib.import_module('mindefense.cli')\n__import__('json')\n")
    assert named(tmp_path) == {("x.py", "mindefense.cli")}


def test_mindarmour_has_two_importers():
    assert importers(ROOT, "mindarmour") == {"attacks/mindarmour.py", "private.py"}


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("metrics/roc.py", "from mindefense.attacks import Attack"),
        ("types/new.py", "import mindefense.data.table"),
        ("attacks/new.py", "def f():\n    from mindefense.defenses.search import search"),
        ("data/x.py", "from mindefense import models"),
        ("evaluation/x.py", "def f():\n    from mindefense.study import Study"),
        ("study/x.py", "from mindefense.reports.results import to_json"),
        ("reports/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mindefense.cli import main"),
    ],
)
def test_climbing_is_noticed(tmp_path, room, line):
    (tmp_path / room).parent.mkdir(exist_ok=True)
    (tmp_path / room).write_text(f"from mindefense.errors import InputError\nimport numpy\n{line}\n")
    assert len(climbs(tmp_path)) == 1


def test_mindspore_stays_out():
    code = (
        "import sys, importlib\n"
        f"for name in {WITHOUT_MINDSPORE!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'mindspore', 'mindarmour'} & set(sys.modules)\n"
        "    if heavy: sys.exit(f'{name} imports {heavy}')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
