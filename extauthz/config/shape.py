"""What the file format allows at a place: its JSON Schema, and a walk through it.

The schema is made from the settings classes (their types and docstrings), so it can name the keys of a mapping, the
expected value and its meaning wherever a file goes wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import BaseModel

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DURATION: Final = "(ms|s|m|h|d)"
_UNITS: Final = {
    _DURATION: "a duration with its unit, such as 200ms, 30s or 1h",
    "(B|KiB|MiB|GiB)": "a size with its unit, such as 8KiB or 4MiB",
}
"""Part of a unit's pattern → the unit in words."""
_WORDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_PLURAL: Final = {"text": "texts", "a mapping": "mappings", "a path": "paths", "a whole number": "whole numbers"}


@dataclass(frozen=True)
class Shape:
    """The JSON Schema of one root model."""

    schema: Schema

    @classmethod
    def of(cls, model: type[BaseModel]) -> Shape:
        schema = model.model_json_schema()
        _tidy(schema)
        return cls({"$schema": DIALECT, **schema})

    @cached_property
    def _definitions(self) -> Mapping[str, Schema]:
        definitions: dict[str, Schema] = self.schema.get("$defs", {})
        return definitions

    def at(self, location: Sequence[str | int]) -> tuple[Schema, ...]:
        """The schemas that may describe the value at `location`; parts that name a union's member choose it."""
        places = tuple(self.flat(self.schema))
        for part in location:
            steps = tuple(inner for place in places for child in _step(place, part) for inner in self.flat(child))
            places = steps or tuple(place for place in places if _chosen(place, part)) or places
        return places

    def block(self, location: Sequence[str | int]) -> frozenset[str]:
        """The keys of the format's own mapping exactly here; empty when there is none."""
        places = tuple(self.flat(self.schema))
        for part in location:
            places = tuple(inner for place in places for child in _step(place, part) for inner in self.flat(child))
        return frozenset(key for place in places for key in place.get("properties", ()))

    def flat(self, schema: Schema) -> Iterator[Schema]:
        """`schema` with references followed and unions taken apart; an outer description is kept."""
        if "$ref" in schema:
            target = self._definitions[schema["$ref"].rpartition("/")[2]]
            outer = {key: value for key, value in schema.items() if key != "$ref"}
            yield from self.flat({**target, **outer})
            return
        members = schema.get("anyOf") or schema.get("oneOf")
        if not members:
            yield schema
            return
        outer = {key: schema[key] for key in ("description", "default") if key in schema}
        for member in members:
            yield from self.flat({**member, **outer})

    def keys(self, location: Sequence[str | int]) -> list[str]:
        """The keys that the mapping at `location` may have; empty when it takes names of the writer's own."""
        return sorted({key for place in self.at(location) for key in place.get("properties", ())})

    def tags(self, location: Sequence[str | int]) -> list[str]:
        """What tells the members of the union at `location` apart: the constants in them."""
        properties = (value for place in self.at(location) for value in place.get("properties", {}).values())
        return [str(value["const"]) for value in properties if "const" in value]

    def expected(self, location: Sequence[str | int]) -> str:
        """`one of closed, open`, `a duration such as 200ms, 30s, 1h`, `a list of text` …; empty when unknown."""
        words = [word for place in self.at(location) if (word := self.words(place))]
        return " or ".join(dict.fromkeys(words))

    def words(self, schema: Schema) -> str:
        """One schema's type in words."""
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return "one of " + ", ".join(map(_literal, schema["enum"]))
        pattern = schema.get("pattern", "")
        for mark, words in _UNITS.items():
            if mark in pattern:
                return words
        if schema.get("type") == "array" and isinstance(items := schema.get("items"), dict):
            inner = " or ".join(dict.fromkeys(word for item in self.flat(items) if (word := self.words(item))))
            return f"a list of {_PLURAL.get(inner, inner)}" if inner else "a list"
        return "a path" if schema.get("format") == "path" else _WORDS.get(schema.get("type", ""), "")

    def description(self, location: Sequence[str | int]) -> str:
        """The setting's docstring."""
        return next((place["description"] for place in self.at(location) if "description" in place), "")


def _step(schema: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        prefix = schema.get("prefixItems", ())
        items = schema.get("items")
        if part < len(prefix):
            yield prefix[part]
        elif isinstance(items, dict):
            yield items
        return
    if part in schema.get("properties", {}):
        yield schema["properties"][part]
    elif isinstance(further := schema.get("additionalProperties"), dict):
        yield further
    else:
        yield from schema.get("patternProperties", {}).values()


def _chosen(schema: Schema, part: str | int) -> bool:
    """Whether `part` is the tag of this member of a union."""
    return any(value.get("const") == part for value in schema.get("properties", {}).values())


def _literal(value: object) -> str:
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _tidy(node: Any) -> None:
    """Goes through a schema; names of properties are no keywords."""
    if isinstance(node, list):
        for child in node:
            _tidy(child)
    elif isinstance(node, dict):
        _tidy_keywords(node)
        for key, child in node.items():
            if key in {"properties", "$defs", "patternProperties"}:
                _tidy(list(child.values()))
            elif key not in {"default", "examples", "enum", "const"}:
                _tidy(child)


def _tidy_keywords(node: Schema) -> None:
    node.pop("title", None)  # generated; it repeats the key
    if _DURATION in node.get("pattern", ""):
        node |= {"type": ["string", "integer"], "minimum": 0, "maximum": 0}  # the number 0 is a duration too
    if isinstance(node.get("default"), dict) and "$ref" in node:
        del node["default"]  # a block's defaults stand at its keys
