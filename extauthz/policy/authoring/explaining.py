"""`extauthz policy explain`: one decision, told whole. Which layer, which rule, which values, what would be allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ConfigError, EngineFault
from extauthz.model import Decision, Deny, deny
from extauthz.policy.authoring import rego_ast as ast
from extauthz.policy.authoring.data import data_of
from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.authoring.opa import Opa
from extauthz.policy.authoring.trace import Story, Trace
from extauthz.policy.authoring.whatif import Change, WhatIf, at, leaves
from extauthz.policy.case_files import load_cases
from extauthz.policy.loader import load
from extauthz.policy.projection import analyse
from extauthz.strict_json import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from extauthz.policy.cases import Case

MAX_CONSTANTS: Final = 300
DESCRIBING: Final = frozenset({"allow", "reasons", "code", "message", "remedy", "detail", "ttl", "obligations"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """`missing` are paths that the entrypoint reads and the input does not have; those that mattered come first.

    `alone` are changes each of which is enough; `together` is one set of changes that is enough, looked for only where
    no single change is.
    """

    entrypoint: str
    decision: Decision
    story: Story
    inputs: tuple[tuple[str, Any], ...]
    missing: tuple[str, ...]
    alone: tuple[Change, ...]
    together: tuple[Change, ...]
    revision: str


def explain(tool: Path, directory: Path, entrypoint: str, document: Mapping[str, Any]) -> Explanation:
    """Raises ConfigError where the policy is broken, and MissingPart. Blocks, a second or two."""
    policy = load(directory)
    analysis = analyse(tool, policy, [entrypoint]).analyses[entrypoint]
    with Evaluator(policy) as evaluator:
        try:
            decision = evaluator.decide(entrypoint, orjson.dumps(document))
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
        code = decision.code if isinstance(decision, Deny) else ""
        sources = {name: text.decode(errors="replace") for name, text in policy.files.items() if name.endswith(".rego")}
        story = Trace(_events(tool, directory, entrypoint, document), sources).story(code=code, entrypoint=entrypoint)
        alone: list[Change] = []
        together: list[Change] = []
        if isinstance(decision, Deny):
            cases = _cases(directory, entrypoint)
            known = _known(cases)
            pool = [*_constants(Opa(tool, directory), sources), *_leaf_values(data_of(policy))]
            search = WhatIf(evaluator.decide, entrypoint, document, analysis.paths, pool)
            alone = search.single(known)
            together = [] if alone else search.several(known, decision)
    read = list(dict.fromkeys(path for one in (*story.failed, *story.held) for path in one.reads))
    absent = [".".join(path) for path in analysis.paths if path and at(document, path) is MISSING]
    return Explanation(
        entrypoint,
        decision,
        story,
        tuple((path, at(document, tuple(path.split(".")))) for path in read),
        tuple(sorted(absent, key=lambda path: path not in read)),
        tuple(alone),
        tuple(together),
        policy.revision,
    )


def _events(tool: Path, directory: Path, entrypoint: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = Opa(tool, directory).json(
        "eval", "--bundle", ".", "--stdin-input", "--format", "json", "--explain", "full",
        "--disable-indexing", "--disable-early-exit", "data." + entrypoint.replace("/", "."),
        stdin=orjson.dumps(document),
    )  # fmt: skip
    events = answer.get("explanation") if isinstance(answer, dict) else None
    return events if isinstance(events, list) else []


def _cases(directory: Path, entrypoint: str) -> list[Case]:
    """The decision cases of the entrypoint; a broken file of cases spoils no explanation."""
    try:
        return [case for case in load_cases(directory) if case.entrypoint == entrypoint and not case.data]
    except ConfigError:
        return []


def _known(cases: Sequence[Case]) -> dict[tuple[str, ...], list[Any]]:
    """Path → values there, in the inputs that must be allowed."""
    known: dict[tuple[str, ...], list[Any]] = {}
    for case in cases:
        if case.expected.allow:
            for path in leaves(case.input):
                known.setdefault(path, []).append(at(case.input, path))
    return known


def _constants(opa: Opa, sources: Mapping[str, str]) -> list[Any]:
    """Texts, numbers and booleans that the rules are written with."""
    modules, _ = ast.parse(opa, sources)
    found: dict[bytes, Any] = {b"true": True, b"false": False}
    for module in modules:
        for term in ast.walk(module.rules):
            if term.get("type") in ("string", "number") and (value := term.get("value")) not in DESCRIBING:
                found.setdefault(orjson.dumps(value), value)
    return list(found.values())[:MAX_CONSTANTS]


def _leaf_values(data: Any) -> Iterator[Any]:
    """Keys and plain values of the data, no longer texts (those are messages)."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from _leaf_values(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaf_values(value)
    elif not isinstance(data, str) or " " not in data:
        yield data
