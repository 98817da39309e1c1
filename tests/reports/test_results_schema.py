"""The JSON Schema describes every field of the files, refuses others, and the page about the format shows all of it."""

import copy
import dataclasses
import importlib.util
import itertools
import json
import re
from pathlib import Path

import jsonschema
import pytest

from mindefense.evaluation.config import EvaluationConfig
from mindefense.reports import validation
from mindefense.reports.results import ADVERSARY, KNOWLEDGE, NOISE, SCHEMA, SCHEMA_VERSION, schema
from mindefense.reports.upgrade import upgraded
from mindefense.study.config import StudyConfig
from mindefense.training.config import TrainConfig
from mindefense.types import LEVELS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "results_format.md"
STORED = sorted((ROOT / "docs" / "results").glob("*/*.json"))
SPEC = importlib.util.spec_from_file_location("results_format", ROOT / "docs" / "results_format.py")
results_format = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(results_format)
OBJECTS = schema()["$defs"]
VALIDATOR = jsonschema.Draft202012Validator(schema())


def as_stored(held):
    """What comes back from a file."""
    return json.loads(json.dumps(held))


def faults(held):
    """What the schema has against a file, each with its place."""
    found = VALIDATOR.iter_errors(as_stored(held))
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def objects_in(held, path="$"):
    """Every object in a file that the schema describes field by field, with its place."""
    free = ("settings", "versions", "timings", "config", "threat_models", "digests")
    if isinstance(held, dict):
        yield path, held
        for name, value in held.items():
            if name not in free:
                yield from objects_in(value, f"{path}.{name}")
    elif isinstance(held, list):
        for number, value in enumerate(held[:2]):
            yield from objects_in(value, f"{path}[{number}]")


def test_schema_is_one_and_of_the_version_that_is_written():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema()["$id"] == f"urn:mindefense:results:{SCHEMA_VERSION}"
    assert OBJECTS["heading"]["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_a_wheel_holds_the_schema():
    assert SCHEMA.parent.name == "reports"
    (data,) = re.findall(r'"mindefense\.reports": (\[.*?\])', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert SCHEMA.name in json.loads(data)


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_stored_results_fit(path):
    assert faults(upgraded(json.loads(path.read_text(encoding="utf-8")))) == []


def keywords_in(schema):
    """Every keyword of a schema; names of fields are none."""
    for name, value in schema.items():
        yield name
        for part in (
            value.values() if name in ("properties", "$defs") else value if isinstance(value, list) else [value]
        ):
            if isinstance(part, dict):
                yield from keywords_in(part)


def test_reading_understands_the_whole_schema():
    assert set(keywords_in(schema())) - {"$schema", "$id", "$defs", "title", "description"} <= validation.KEYWORDS


def damages_of(held):
    """Copies of a file, each with one value in it replaced or one field left out."""
    for wrong in (None, True, -1, 1, 2.5, 1e9, "", "x", [], [None], {}, {"x": 1}):
        for path in places_in(held):
            yield changed_at(held, path, wrong)
    for path in places_in(held):
        if isinstance(path[-1], str):
            yield changed_at(held, path, None, leave_out=True)


def places_in(held, path=()):
    """Every place in a file, of lists the first two items."""
    items = held.items() if isinstance(held, dict) else enumerate(held[:2]) if isinstance(held, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places_in(value, (*path, name))


def changed_at(held, path, value, *, leave_out=False):
    found = held.copy()
    if len(path) > 1:
        found[path[0]] = changed_at(held[path[0]], path[1:], value, leave_out=leave_out)
    elif leave_out:
        del found[path[0]]
    else:
        found[path[0]] = value
    return found


def small(held):
    """The same file with two items of each list that the schema lets be short."""
    if isinstance(held, dict):
        return {name: small(value) for name, value in held.items()}
    return [small(value) for value in held[:2]] if isinstance(held, list) else held


def open_to_more(schema):
    """The same schema, but fields that it does not describe are let pass."""
    if isinstance(schema, dict):
        closed = ("additionalProperties", "unevaluatedProperties")
        return {name: open_to_more(part) for name, part in schema.items() if name not in closed or part is not False}
    return [open_to_more(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(("value", "fits"), [(2.0000002, True), (2.01, False), (-1e-8, True), (-0.01, False)])
def test_figures_that_rounding_put_beyond_their_bounds_are_read(value, fits, recorded):
    held = changed_at(recorded, ("defense", "max_l1"), value)
    assert (next(validation.faults(held, schema()), None) is None) == fits


def test_reading_finds_what_a_validator_finds(recorded):
    reference, held, counts = jsonschema.Draft202012Validator(open_to_more(schema())), small(recorded), [0, 0]
    for damaged in itertools.islice(damages_of(held), 0, None, 4):
        fits = reference.is_valid(damaged)
        counts[fits] += 1
        assert (next(validation.faults(damaged, schema()), None) is None) == fits, damaged
    assert min(counts) > 100


@pytest.mark.parametrize("kind", ["recorded", "recorded_alone", "one_attack"])
def test_fresh_results_of_recorded_outputs_fit(kind, request):
    assert faults(request.getfixturevalue(kind)) == []


def test_fresh_results_of_a_study_fit(smoke_run):
    held = json.loads((smoke_run / "results.json").read_text(encoding="utf-8"))
    assert faults(held) == []
    assert OBJECTS["evaluation"]["properties"].keys() | OBJECTS["heading"]["properties"].keys() == held.keys()


def test_a_field_that_is_not_described_is_refused_wherever_it_stands(recorded, stored_comparison):
    for held in (recorded, as_stored(upgraded(stored_comparison))):
        places = dict(objects_in(held))
        assert len(places) > 20
        for place in places:
            changed = copy.deepcopy(held)
            dict(objects_in(changed))[place]["unheard_of"] = 1
            assert not VALIDATOR.is_valid(changed), place


def test_a_field_that_is_missing_is_noticed_wherever_it_stands(recorded):
    # Fields that older files lack.
    optional = {"$.risks", "$.other_targets", "$.confidences", "$.attacks[0].roc", "$.attacks[1].roc"}
    for place, held in dict(objects_in(recorded)).items():
        for name in held:
            changed = copy.deepcopy(recorded)
            del dict(objects_in(changed))[place][name]
            there = f"{place}.{name}"
            assert VALIDATOR.is_valid(changed) == (there in optional), there


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("schema_version",), 4),
        (("seed",), "0"),
        (("target", "member_accuracy"), 61.5),
        (("attacks", 0, "auc"), -0.1),
        (("attacks", 0, "two_sided_auc"), 0.4),
        (("attacks", 0, "knowledge"), "everything"),
        (("attacks", 0, "n_members"), 3.5),
        (("attacks",), []),
        (("verdict", "undefended", "level"), "maybe"),
        (("verdict", "undefended"), None),
        (("settings", "given"), "scores"),
        (("settings", "unheard_of"), 1),
        (("timings",), {"query": "long"}),
        (("threat_models", "knowledge", "insider"), "knows all"),
    ],
)
def test_wrong_values_are_refused(place, wrong, recorded):
    changed = copy.deepcopy(recorded)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = wrong
    assert faults(changed)


def test_words_of_the_schema_are_those_of_the_code():
    words = OBJECTS["threat_models"]["properties"]
    for name, known in (("knowledge", KNOWLEDGE), ("adversary", ADVERSARY), ("noise", NOISE)):
        assert set(words[name]["propertyNames"]["enum"]) == set(known)
    assert set(OBJECTS["attacker"]["properties"]["knowledge"]["enum"]) == set(KNOWLEDGE)
    assert tuple(OBJECTS["verdict"]["properties"]["level"]["enum"]) == LEVELS


def test_every_setting_is_described():
    described = OBJECTS["settings"]["properties"]
    for config in (StudyConfig, EvaluationConfig):
        assert {field.name for field in dataclasses.fields(config)} <= set(described)
    assert {field.name for field in dataclasses.fields(TrainConfig)} == set(OBJECTS["training"]["properties"])


def test_every_object_is_closed_and_every_field_has_a_description():
    parts = {base["$ref"].rpartition("/")[2] for thing in OBJECTS.values() for base in thing.get("allOf", ())}
    for name, thing in OBJECTS.items():
        closed = thing.get("unevaluatedProperties", thing.get("additionalProperties")) is False
        assert closed != (name in parts), name  # what others share leaves it to them
        assert thing["description"], name
        for field, node in thing["properties"].items():
            assert re.fullmatch(r"[A-Z`].*\.", node["description"], re.DOTALL), f"{name}.{field}"
            nullable = "null" in node.get("type", ()) or None in node.get("enum", ())
            nullable |= {"type": "null"} in node.get("anyOf", ())
            assert nullable == bool(re.search(r"\b[Nn]ull\b", node["description"])), f"{name}.{field}: when null"


def test_page_has_every_field_and_no_other():
    text = PAGE.read_text(encoding="utf-8")
    assert results_format.filled(text) == text
    blocks = {name: block for _, name, block, _ in results_format.BLOCK.findall(text)}
    assert sorted(blocks) == sorted(OBJECTS)
    for name, block in blocks.items():
        assert re.findall(r"^\| `(\w+)` \|", block, re.MULTILINE) == list(OBJECTS[name]["properties"]), name


def test_links_of_the_page_lead_to_its_sections():
    text = PAGE.read_text(encoding="utf-8")
    headings = {line.lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(links) > 40
    assert set(links) <= headings
