"""Inputs to ask two policies with: what is known, and what grows out of it.

1. Known inputs: the decision cases of both policies, JSON fixtures beside them, recorded inputs.
2. A plain input, so that a policy without any is asked something.
3. One change at every path that either policy reads; then two changes, as far as the budget goes. Values come from the
   other inputs, from the schema's enumerations, from the constants and the data of both policies (numbers also one
   step off), and from absence.

The order depends on the inputs alone: the same question gets the same answer tomorrow.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz import strict_json
from extauthz.policy.authoring.whatif import at, changed_at, leaves
from extauthz.strict_json import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    KeyPath = tuple[str, ...]

MAX_SEEDS: Final = 400
MAX_FIXTURE: Final = 256 * 1024
MAX_TEXTS: Final = 200
MAX_NUMBERS: Final = 60
_WORDS: Final = frozenset({"subject", "action", "resource", "context", "attributes"})
_STRING: Final = re.compile(r'"((?:[^"\\\n]|\\.){1,80})"')
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w.])")
PLAIN: Final[dict[str, Any]] = {
    "subject": {"type": "user", "id": "alice", "properties": {}},
    "action": {"name": "read"},
    "resource": {"type": "thing", "id": "1", "properties": {}},
    "context": {"route": "route", "properties": {}},
}


@dataclass(frozen=True, slots=True)
class Question:
    """`origin` tells where the input is from: a case's name, a file, a record, or what was changed."""

    entrypoint: str
    document: dict[str, Any]
    origin: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Values to try."""

    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    schema: Mapping[str, Any]

    def at(self, path: KeyPath, now: Any, known: Sequence[Any]) -> list[Any]:
        """For a path whose value is `now` (MISSING when absent); `known` are values there in other inputs."""
        values = [*known, *_enumerated(self.schema, path)]
        kind = now if now is not MISSING else next((one for one in values if one is not MISSING), MISSING)
        if isinstance(kind, bool):
            values += [True, False]
        elif isinstance(kind, int | float):
            values += [0, -1, *self.numbers, *(step for one in self.numbers for step in (one - 1, one + 1))]
        elif isinstance(kind, list):
            held = list(now) if isinstance(now, list) else []
            values += [[], *([text] for text in self.texts), *([*held, text] for text in self.texts)]
        elif isinstance(kind, str) or kind is MISSING:
            values += ["", *self.texts]
            if kind is MISSING:
                values += [True, False, *self.numbers]
        distinct = {orjson.dumps(value): value for value in values if value is not MISSING and value != now}
        return [*distinct.values(), *([] if now is MISSING else [MISSING])]


def pool(sources: Iterable[str], data: Iterable[Any], schema: Mapping[str, Any]) -> Pool:
    """From the Rego texts and the data of the policies."""
    texts: dict[str, None] = {}
    numbers: dict[float, None] = {}
    for document in data:
        for path in leaves(document):
            texts.update((part, None) for part in path)
            value = at(document, path)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and len(one) <= 80:  # noqa: PLR2004 - longer ones are messages
                    texts[one] = None
                elif isinstance(one, int | float) and not isinstance(one, bool):
                    numbers[one] = None
    for source in sources:
        texts.update((text, None) for text in _STRING.findall(source) if "\\" not in text)
        numbers.update((float(text) if "." in text else int(text), None) for text in _NUMBER.findall(source))
    return Pool(tuple(texts)[:MAX_TEXTS], tuple(numbers)[:MAX_NUMBERS], schema)


def fixtures(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON files below a policy directory that look like inputs."""
    if not root.is_dir():
        return
    for file in sorted(root.rglob("*.json")):
        name = file.relative_to(root).as_posix()
        if file.name == "data.json" or any(part.startswith(".") for part in name.split("/")):
            continue
        try:
            document = strict_json.parse(file.read_bytes(), max_bytes=MAX_FIXTURE, max_depth=64).root
        except (strict_json.NotStrict, OSError):
            continue
        if isinstance(document, dict) and _WORDS & document.keys() and "$schema" not in document:
            yield name, document


def grown(
    seeds: Sequence[Question], reads: Mapping[str, Sequence[KeyPath]], values: Pool, budget: int
) -> Iterator[Question]:
    """At most `budget` changed inputs: a fair share of all single changes first, then random pairs."""
    chance = random.Random(1)  # noqa: S311 - a repeatable choice, no secret
    by_entrypoint: dict[str, list[Question]] = {}
    for seed in seeds[:MAX_SEEDS]:
        by_entrypoint.setdefault(seed.entrypoint, []).append(seed)
    singles = []
    for entrypoint, group in by_entrypoint.items():
        for path in _concrete(group, reads.get(entrypoint, ((),))):
            known = [value for seed in group if (value := at(seed.document, path)) is not MISSING]
            singles += [(seed, path, known) for seed in group]
    chance.shuffle(singles)
    share = max(1, budget * 3 // 4 // max(1, len(singles)))
    left = budget
    for seed, path, known in singles:
        options = values.at(path, at(seed.document, path), known)
        for value in options if len(options) <= share else chance.sample(options, share):
            if left <= 0:
                return
            left -= 1
            yield _changed(seed, path, value)
    while left > 0 and singles:
        left -= 1
        seed, path, known = chance.choice(singles)
        options = values.at(path, at(seed.document, path), known)
        other = chance.choice(singles)
        if not options:
            continue
        changed = _changed(seed, path, chance.choice(options))
        if other[0].entrypoint == seed.entrypoint:
            more = values.at(other[1], at(changed.document, other[1]), other[2])
            changed = _changed(changed, other[1], chance.choice(more)) if more else changed
        yield changed


def _concrete(group: Sequence[Question], paths: Sequence[KeyPath]) -> list[KeyPath]:
    """The paths of values: where a policy reads an object, every value below it."""
    found: dict[KeyPath, None] = {}
    for path in paths:
        held = [at(seed.document, path) for seed in group]
        below = [leaf for value in held if isinstance(value, dict) for leaf in leaves(value, path)]
        found.update(dict.fromkeys(below or ([path] if path else [])))
    return list(found)


def _changed(seed: Question, path: KeyPath, value: Any) -> Question:
    what = "absent" if value is MISSING else orjson.dumps(value).decode()
    document = changed_at(seed.document, path, value)
    return Question(seed.entrypoint, document, f"{seed.origin}, with {'.'.join(path)} {what[:80]}")


def _enumerated(schema: Any, path: KeyPath) -> list[Any]:
    for part in path:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        schema = properties.get(part) if isinstance(properties, dict) else None
    if not isinstance(schema, dict):
        return []
    listed = schema.get("enum")
    if isinstance(listed, list):
        return listed
    samples: dict[str, list[Any]] = {"boolean": [True, False], "array": [[]], "number": [0], "integer": [0]}
    return samples.get(str(schema.get("type")), [])
