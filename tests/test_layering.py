"""A package imports only from itself and from lower layers, and the NumPy packages do not import MindSpore."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mindefense

ROOT = Path(mindefense.__file__).parent
LAYERS = [
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
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
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
    "mindefense.evaluation.attackers",
    "mindefense.evaluation.fits",
    "mindefense.evaluation.judging",
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


def package_of(module):
    """The package of ``mindefense.data.table`` is ``data``; other projects' modules have none."""
    root, *packages = module.split(".")
    return packages[0] if root == "mindefense" and packages else None


def upward_imports(root):
    """Imports of another package in the same layer or a higher one."""
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).with_suffix("").parts
        if inside == ("__init__",):  # the package itself imports names of every layer
            continue
        for module, line in imports(path):
            package = package_of(module)
            if package is None or package == inside[0] or package == "__version__":
                continue
            if LAYER[package] >= LAYER[inside[0]]:
                found.append(f"{'/'.join(inside)}.py:{line} imports {module}")
    return found


def named(root):
    """Modules of this package that a file imports by a call of `import_module` instead of an import statement."""
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                found |= {(path.relative_to(root).as_posix(), argument.value) for argument in node.args
                          if isinstance(argument, ast.Constant) and package_of(str(argument.value))}  # fmt: skip
    return found


def importers(root, package):
    return {path.relative_to(root).as_posix() for path in root.rglob("*.py") for module, _ in imports(path)
            if module.split(".")[0] == package}  # fmt: skip


def test_every_package_has_a_layer():
    packages = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert packages - {"__init__"} <= set(LAYER)


def test_packages_import_from_lower_layers():
    assert upward_imports(ROOT) == []


def test_one_package_of_a_higher_layer_is_imported_by_its_name():
    assert named(ROOT) == {("types/results.py", "mindefense.reports.notebook")}


def test_a_package_that_is_imported_by_its_name_is_noticed(tmp_path):
    (tmp_path / "x.py").write_text("import importlib\nimportlib.import_module('mindefense.cli')\n__import__('json')\n")
    assert named(tmp_path) == {("x.py", "mindefense.cli")}


def test_mindarmour_has_two_importers():
    assert importers(ROOT, "mindarmour") == {"attacks/mindarmour.py", "private.py"}


@pytest.mark.parametrize(
    ("file", "line"),
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
def test_an_upward_import_is_noticed(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"from mindefense.errors import InputError\nimport numpy\n{line}\n")
    assert len(upward_imports(tmp_path)) == 1


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
