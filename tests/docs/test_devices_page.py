"""What docs/devices.md says of operators, platforms and commands is so."""

import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops
from mindspore.train.mind_ir_pb2 import ModelProto, TensorProto
from pages import ROOT, page

from mindefense.defenses import (
    ClassMean,
    DefendedModel,
    DefenderClassifier,
    DefenMI,
    LabelOnly,
    LaplaceOutput,
    MemGuard,
    MemGuardBudget,
    MemGuardConfig,
    Rounding,
    Temperature,
    TopK,
)
from mindefense.defenses.defended import DEFENSES
from mindefense.models import MLP, vgg16

PAGE = page("docs/devices.md")
OPERATORS = PAGE.sections["Operators"]
ROWS = re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", OPERATORS, re.M)[1:]
GLUE = set(re.findall(r"`(\w+)`", OPERATORS.split("are not listed:")[1].split(", which form")[0]))

CLASSES, FEATURES = 4, 6
MEANS = (np.eye(CLASSES) * 0.6 + 0.1).astype(np.float32)


def defenses():
    """Name → every defense that there is."""
    judge = DefenderClassifier(CLASSES)
    return {
        "class-mean": ClassMean(MEANS),
        "defenmi": DefenMI(judge, MEANS),
        "label-only": LabelOnly(),
        "laplace-output": LaplaceOutput(0.1, CLASSES),
        "memguard": MemGuard(judge),
        "memguard-budget": MemGuardBudget(MemGuard(judge, MemGuardConfig(alignment="published")), 0.5),
        "rounding": Rounding(2),
        "temperature": Temperature(2.0),
        "top-k": TopK(2),
    }


def graph_of(model, x, path):
    """The exported graph of a defended model, as its file holds it."""
    noise = np.zeros_like(x) if model.is_noised else np.full((len(x), model.defense.draws or 1), 0.5, np.float32)
    ms.export(model.set_train(False), ms.Tensor(x), ms.Tensor(noise), file_name=str(path), file_format="MINDIR")
    return ModelProto.FromString(path.with_suffix(".mindir").read_bytes())


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Name → exported graph: every defense in front of an MLP, and VGG16, for which the cheapest defense will do."""
    folder = tmp_path_factory.mktemp("graphs")
    rng = np.random.default_rng(0)
    rows, images = (np.float32(rng.normal(size=(2, *shape))) for shape in ((FEATURES,), (3, 32, 32)))
    mlp, vgg = MLP((FEATURES, 8, CLASSES)), vgg16(CLASSES, 32, width_multiplier=1 / 64)
    built = defenses()
    models = {name: (DefendedModel(mlp, defense), rows) for name, defense in built.items()}
    models["vgg16"] = (DefendedModel(vgg, built["label-only"]), images)
    return {name: graph_of(*given, folder / f"graph{k}") for k, (name, given) in enumerate(models.items())}


def nodes(graph):
    """``(operator, node)`` of all functions of a graph, calls of functions left out."""
    primitives = {primitive.name: primitive.op_type for primitive in graph.primitives}
    for function in (graph.graph, *graph.functions):
        for node in function.node:
            name = node.op_type
            if not name.startswith("REF::"):
                yield name, node
            elif name.removeprefix("REF::") in primitives:
                yield primitives[name.removeprefix("REF::")], node


def test_no_defense_is_left_out():
    assert {type(defense).name for defense in defenses().values()} == set(DEFENSES)


def test_the_table_lists_the_operators_of_the_exported_graphs(graphs):
    found = {name for graph in graphs.values() for name, _ in nodes(graph)}
    listed = [operator for operator, *_ in ROWS]
    assert len(listed) == len(set(listed)) > 20
    assert found - set(listed) - GLUE == set(), "in a graph and not in the table"
    assert set(listed) - found == set(), "in the table and in no graph"
    assert GLUE - found == set(), "said to hold graphs together, and in none"


@pytest.mark.parametrize(("operator", "platforms", "page"), ROWS, ids=[row[0] for row in ROWS])
def test_platforms_are_those_of_the_installed_documentation(operator, platforms, page):
    linked = re.fullmatch(r"\[ops\.(\w+)\]\(https://www\.mindspore\.cn/docs/\S+/mindspore\.ops\.(\w+)\.html\)", page)
    if linked is None:
        assert (platforms, page) == ("none named", "no page")
        assert not hasattr(ops, operator)
        return
    assert linked[1] == linked[2]
    said = re.search(r"Supported Platforms:\s*(.*)", getattr(ops, linked[1]).__doc__)
    assert said is not None
    assert re.findall(r"``(\w+)``", said[1]) == platforms.split(", ")
    assert "Ascend" in platforms


def test_tensors_are_of_types_that_all_devices_have(graphs):
    assert "Every tensor in these graphs is float32, int32 or bool" in OPERATORS
    found = set()
    for graph in graphs.values():
        for _, node in nodes(graph):
            values = list(node.attribute)
            while values:
                value = values.pop()
                found |= {tensor.data_type for tensor in value.tensors}
                values += value.values
        found |= {p.data_type for function in (graph.graph, *graph.functions) for p in function.parameter}
    assert {TensorProto.DataType.Name(kind) for kind in found} == {"FLOAT", "INT32", "BOOL"}


def test_scripts_that_the_commands_name_are_there():
    scripts = re.findall(r"^\$ python ([\w/]+\.py)", PAGE.text, re.M)
    assert {script.partition("/")[0] for script in scripts} == {"benchmarks", "examples"}
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_python_that_the_commands_hold_is_python():
    for code in re.findall(r"^\$ python -c \"(.+)\"$", PAGE.text, re.M):
        compile(code, PAGE.name, "exec")


def test_the_code_shown_names_what_mindspore_has():
    for name in re.findall(r"`mindspore\.([\w.]+)", PAGE.text):
        found = ms
        for part in name.split("."):
            found = getattr(found, part)
