"""Random Rego and random inputs, both small: a few paths and values, so that inputs collide after projection.

The policies read the input in every way that the projection has to see through: plain paths, variables in the way,
iteration, dynamic keys, functions, comprehensions, negation, `with`, `else`, data that is looked up by the input.
"""

from __future__ import annotations

import random
from typing import Any

KEYS = ("a", "b", "c")
TOPS = ("subject", "resource", "context")
VALUES: tuple[Any, ...] = (
    0,
    1,
    2,
    "x",
    "y",
    "",
    True,
    False,
    None,
    [],
    ["x"],
    ["x", "y"],
    {"a": 1},
    {"b": "x", "c": ["y"]},
)
LITERALS = ("0", "1", '"x"', '"y"', "true", '["x"]', "null")
DATA = {"table": {"x": {"a": 1, "b": "y"}, "y": {"a": 2}}, "list": ["x", 1], "one": 1}


class Chance:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self._names = 0

    def pick(self, *options: Any) -> Any:
        return self._random.choice(options)

    def count(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def name(self, prefix: str = "v") -> str:
        self._names += 1
        return f"{prefix}{self._names}"


def document(chance: Chance) -> dict[str, Any]:
    """An input; parts of it are missing, and parts are of another kind than the policy thinks."""
    made: dict[str, Any] = {}
    for top in TOPS:
        if chance.count(0, 9) == 0:
            made[top] = chance.pick(*VALUES)
        elif chance.count(0, 9):
            made[top] = {key: _value(chance) for key in KEYS if chance.count(0, 3)}
    if not chance.count(0, 4):
        made["other"] = _value(chance)
    return made


def documents(chance: Chance, count: int) -> list[dict[str, Any]]:
    """Most differ from an earlier one in one value, which the policy may or may not read."""
    made: list[dict[str, Any]] = []
    while len(made) < count:
        if not made or not chance.count(0, 7):
            made.append(document(chance))
            continue
        other = dict(chance.pick(*made[-40:]))
        top = chance.pick(*TOPS)
        below = dict(other[top]) if isinstance(other.get(top), dict) else {}
        below[chance.pick(*KEYS)] = _value(chance)
        made.append({**other, top: below})
    return made


def _value(chance: Chance) -> Any:
    if chance.count(0, 3) == 0:
        return {key: chance.pick(*VALUES) for key in KEYS if chance.count(0, 1)}
    return chance.pick(*VALUES)


def policy(chance: Chance) -> str:
    """A module `random` with the entrypoint `decision`."""
    rules = [_helper(chance, index) for index in range(chance.count(1, 4))]
    helpers = [f"h{index}" for index in range(len(rules))]
    text = ["package random", "", "import data.table", ""]
    if chance.count(0, 4):
        text += ['default decision := {"allow": false}', ""]
    for index in range(chance.count(1, 3)):
        text += [_decision(chance, helpers, index), ""]
    return "\n".join([*text, *rules, _functions(chance)])


def _decision(chance: Chance, helpers: list[str], index: int) -> str:
    body = "\n".join(f"\t{_line(chance, helpers)}" for _ in range(chance.count(1, 3)))
    if index == 0:
        head = 'decision := {"allow": true}'
    else:  # another value than the first rule's would be a conflict where both hold: a fault, and that must agree, too
        head = chance.pick(
            'decision := {"allow": true}', f'decision := {{"allow": false, "reasons": [{{"code": "role.r{index}"}}]}}'
        )
    otherwise = ""
    if not chance.count(0, 2):
        otherwise = f' else := {{"allow": false, "reasons": [{{"code": "attribute.e{index}", "detail": {_text(chance)}}}]}} if {{\n\t{_line(chance, helpers)}\n}}'
    return f"{head} if {{\n{body}\n}}{otherwise}"


def _text(chance: Chance) -> str:
    return chance.pick('"plain"', f'sprintf("%v", [{_path(chance)}])', f"json.marshal({_path(chance)})")


def _helper(chance: Chance, index: int) -> str:
    name = f"h{index}"
    lines = "\n".join(f"\t{_line(chance, [])}" for _ in range(chance.count(1, 2)))
    kind = chance.count(0, 3)
    if kind == 0:
        return f"{name} contains x if {{\n\tsome x in {_path(chance)}\n{lines}\n}}\n"
    if kind == 1:
        return f"default {name} := false\n\n{name} if {{\n{lines}\n}}\n"
    if kind == 2:
        return f"{name} := {_path(chance)} if {{\n{lines}\n}}\n"
    return f"{name} if {{\n{lines}\n}}\n"


def _functions(chance: Chance) -> str:
    return f"""
same(one, other) if one == other

part(x) := x.a

part(x) := x.b if not x.a

reads(x) if x == {_path(chance)}
"""


def _path(chance: Chance, depth: int | None = None) -> str:
    parts = [chance.pick(*TOPS), *(chance.pick(*KEYS) for _ in range(chance.count(0, 2) if depth is None else depth))]
    if chance.count(0, 12) == 0:
        return "input"
    return "input" + "".join(f'["{part}"]' if not chance.count(0, 3) else f".{part}" for part in parts)


def _line(chance: Chance, helpers: list[str]) -> str:
    a, b, v, w = _path(chance), _path(chance), chance.name(), chance.name()
    literal, key = chance.pick(*LITERALS), chance.pick(*KEYS)
    options = [
        f"{a} == {literal}",
        f"{a} != {literal}",
        f"{a} == {b}",
        a,
        f"not {a}",
        f"not {a} == {literal}",
        f"not same({a}, {literal})",
        f"same({a}, {b})",
        f"reads({literal})",
        f"part({a}) == {literal}",
        f"{literal} in {a}",
        f"not {literal} in {a}",
        f"some {v} in {a}\n\t{v} == {literal}",
        f"some {v}, {w} in {a}\n\t{w} != {v}",
        f"every {v} in {a} {{ {v} != {literal} }}",
        f"{v} := {a}\n\t{v}.{key} == {literal}",
        f"{v} := {a}\n\t{w} := {v}\n\t{w}[_] == {literal}",
        f"input[{v}].{key} == {literal}",
        f"{v} := {_path(chance, 1)}\n\tinput.resource[{v}] == {literal}",
        f"input.subject[{v}] == input.resource[{v}]",
        f"data.table[{a}].a == {chance.count(0, 2)}",
        f"table[{a}][{v}] == {b}",
        f"{a} in data.list",
        f"count({a}) > {chance.count(0, 2)}",
        f"count([1 | some {v} in {a}; {v} == {literal}]) == {chance.count(0, 1)}",
        f'object.get({a}, "{key}", {literal}) == {literal}',
        f'object.get(input, ["subject", "{key}"], 0) == {literal}',
        f"is_string({a})",
        f"is_object({a})",
        f'concat(",", {a}) != ""',
        f"walk({a}, [{v}, {literal}])",
        f'{{"a": {v}}} = {a}\n\t{v} != {literal}',
        f"[{v}, _] = {a}\n\t{v} == {literal}",
        f'json.remove({a}, ["{key}"]) != {{}}',
        f"union({{ {{x | some x in {a}}}, {{x | some x in {b}}} }}) != set()",
        f"same({a}, {literal}) with input.subject.a as {b}",
        f"{a} == {literal} with input as {b}",
        f"{a} == {literal} with data.one as 2",
    ]  # fmt: skip
    options += [f"{name}" for name in helpers] + [f"not {name}" for name in helpers]
    options += [f"{name} with input.{chance.pick(*TOPS)} as {literal}" for name in helpers]
    return chance.pick(*options)
