"""Random policy inputs: the shipped fixtures, crossed with each other and mutated with the schema's vocabulary."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

POLICIES = Path(__file__).resolve().parents[2] / "policies"
JUNK = [
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    1e300,
    2**60,
    "",
    "x",
    " ",
    "é\u2028",
    "../..",
    [],
    [[]],
    {},
    {"x": 1},
    ["x", 1],
]


def fixtures() -> dict[str, dict[str, Any]]:
    """By name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((POLICIES / "fixtures").glob("*.json"))}


def fixtures_of(entrypoint: str) -> list[dict[str, Any]]:
    expected = yaml.safe_load((POLICIES / "fixtures" / "cases.yaml").read_text())["cases"]
    return [one for name, one in fixtures().items() if expected[name]["entrypoint"] == entrypoint]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every path with its value, objects included, the root not."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*path, key))


def schema_values(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for value in schema.get("enum", ()):
        yield path, value
    for key, below in schema.get("properties", {}).items():
        yield from schema_values(below, (*path, key))


class Inputs:
    """`make` gives one input, four times out of five like one that the entrypoint is for; equal seeds, equal inputs."""

    def __init__(self, random: random.Random, entrypoint: str) -> None:
        self._random = random
        self._fixtures = list(fixtures().values())
        self._fitting = fixtures_of(entrypoint) or self._fixtures
        self._words: dict[tuple[str, ...], list[Any]] = {}
        schema = json.loads((POLICIES / "schemas" / "input.json").read_text())
        known = [*schema_values(schema), *(leaf for one in self._fixtures for leaf in leaves(one))]
        for path, value in known:
            values = self._words.setdefault(path, [])
            if value not in values:
                values.append(value)

    def make(self) -> dict[str, Any]:
        pick = self._random
        document = copy.deepcopy(pick.choice(self._fitting if pick.random() < 0.8 else self._fixtures))
        if pick.random() < 0.2:
            section = pick.choice(("subject", "action", "resource", "context"))
            document[section] = copy.deepcopy(pick.choice(self._fixtures).get(section, {}))
        for _ in range(pick.choice((0, 1, 1, 2, 3, 6))):
            self._mutate(document)
        return document

    def _mutate(self, document: dict[str, Any]) -> None:
        pick = self._random
        path = pick.choice(list(self._words))
        place: Any = document
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            return
        how = pick.random()
        if how < 0.15:
            place.pop(path[-1], None)
        elif how < 0.3:
            place[path[-1]] = copy.deepcopy(pick.choice(JUNK))
        else:
            place[path[-1]] = copy.deepcopy(pick.choice(self._words[path]))
