"""The tables of results_format.md, made of the JSON Schema that the package holds.

The page says where: ``<!-- fields: evaluation -->`` begins a block, ``<!-- end -->`` ends it, and

    python docs/results_format.py

writes into every block the fields of that object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindefense.reports.results import schema

PAGE = Path(__file__).with_name("results_format.md")
BLOCK = re.compile(r"(<!-- fields: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WORDS = {"string": "text", "boolean": "true or false", "null": "null"}

Node = Mapping[str, Any]


def filled(page: str) -> str:
    """The page with every block as the schema has it now.

    Raises:
        KeyError: If the schema has no such object.
    """
    objects = schema()["$defs"]
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(objects[block[2]], objects)}\n\n{block[4]}", page)


def table(thing: Node, objects: Mapping[str, Node]) -> str:
    """The description of an object, and its fields, a line each."""
    lines = [thing["description"]]
    for base in thing.get("allOf", ()):
        more = " It has no others." if not thing["properties"] else ""
        lines[0] += f" It has the fields of {_link(base, objects)}.{more}"
    if thing["properties"]:
        lines += ["", "| field | type | what it is |", "|---|---|---|"]
    for name, field in thing["properties"].items():
        absent = "" if name in thing["required"] else ", may be absent"
        lines.append(f"| `{name}` | {_kind(field, objects)}{absent} | {field['description']} |")
    return "\n".join(lines)


def _kind(field: Node, objects: Mapping[str, Node]) -> str:
    """The type of a field and its range, in words."""
    if "$ref" in field:
        return _link(field, objects)
    if "anyOf" in field:
        return " or ".join(_kind(one, objects) for one in field["anyOf"])
    if "const" in field:
        return f"always {field['const']}"
    if "enum" in field and "type" not in field:
        return "text or null" if None in field["enum"] else "text"
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(_typed(one, field, objects) for one in types)


def _typed(name: str, field: Node, objects: Mapping[str, Node]) -> str:
    if name == "array":
        return f"list of {_kind(field['items'], objects)}"
    if name == "object" and "additionalProperties" in field:
        return f"{_kind(field['additionalProperties'], objects)} by name"
    if name not in ("integer", "number"):
        return WORDS.get(name, name)
    if "maximum" in field and "minimum" in field:
        return f"{name}, {field['minimum']} … {field['maximum']:.0f}"
    return f"{name} ≥ {field['minimum']}" if "minimum" in field else name


def _link(reference: Node, objects: Mapping[str, Node]) -> str:
    title = objects[reference["$ref"].removeprefix("#/$defs/")]["title"]
    return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
