"""Checks a file against the schema of results: the keywords of JSON Schema that this schema uses, without a package.

Fields that the schema does not describe are accepted, since a later mindefense may write more under the same version.
So are figures that rounding put beyond their bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
}
_ROUNDING = 1e-6
"""How far a figure may be beyond its bound: an L1 distance of two float32 vectors can be slightly above 2."""
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", lambda value, bound: value < bound - _ROUNDING),
    "maximum": ("at most", lambda value, bound: value > bound + _ROUNDING),
    "exclusiveMinimum": ("above", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("below", lambda value, bound: value >= bound),
}
"""Keyword → its words, and whether a number breaks it."""
KEYWORDS = frozenset(
    (
        *("$ref", "allOf", "anyOf", "if", "then", "else", "type", "const", "enum", *_BOUNDS, "minItems", "items"),
        *("required", "properties", "propertyNames", "additionalProperties", "unevaluatedProperties"),
    )
)
"""The supported keywords; a test ensures that the schema uses no other."""


def faults(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """The faults of a JSON value by a schema, one sentence each with the position.

    Args:
        value: As `json.loads` returns it.
        schema: A JSON Schema of `KEYWORDS`, whose references are to its own ``$defs``.
    """
    yield from _faults(value, schema, schema, "$")


def _faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    if "$ref" in schema:
        yield from _faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    for part in schema.get("allOf", ()):
        yield from _faults(value, part, root, at)
    if "anyOf" in schema:
        yield from _none_fits(value, schema["anyOf"], root, at)
    if "if" in schema:
        branch = "else" if any(_faults(value, schema["if"], root, at)) else "then"
        yield from _faults(value, schema.get(branch, {}), root, at)
    yield from _of_itself(value, schema, at)
    if isinstance(value, dict):
        yield from _inside(value, schema, root, at)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at} has {len(value)} items, fewer than {schema['minItems']}"
        for number, item in enumerate(value):
            yield from _faults(item, schema.get("items", {}), root, f"{at}[{number}]")


def _of_itself(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    """Faults of the value itself, not of its contents."""
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        yield f"{at} is {_shown(value)}, not {' or '.join(kinds)}"
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(_same(value, one) for one in allowed):
        yield f"{at} is {_shown(value)}, not {' or '.join(map(repr, allowed))}"
    for keyword, (words, breaks) in _BOUNDS.items():
        if keyword in schema and _is_number(value) and breaks(value, schema[keyword]):
            yield f"{at} is {_shown(value)}, not {words} {schema[keyword]}"


def _inside(value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    """Faults of an object's fields."""
    described = schema.get("properties", {})
    yield from (f"{at} has no {name!r}" for name in schema.get("required", ()) if name not in value)
    others = schema.get("additionalProperties", True)
    for name, held in value.items():
        if "propertyNames" in schema:
            yield from _faults(name, schema["propertyNames"], root, f"{at}: the name {name!r}")
        if name in described:
            yield from _faults(held, described[name], root, f"{at}.{name}")
        elif isinstance(others, Mapping):
            yield from _faults(held, others, root, f"{at}.{name}")


def _none_fits(value: Any, schemas: list[Mapping[str, Any]], root: Mapping[str, Any], at: str) -> Iterator[str]:
    """If no schema fits, the first fault by the schema that fits best; so an object is not compared with null."""
    found = [next(_faults(value, schema, root, at), None) for schema in schemas]
    if None not in found:
        yield max((fault for fault in found if fault is not None), key=lambda fault: len(fault.partition(" ")[0]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values; true does not equal 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
