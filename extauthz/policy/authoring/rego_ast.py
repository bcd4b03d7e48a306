"""OPA's syntax tree of policy files (`opa parse`, with locations), and walks over it.

Nodes are plain JSON: a term is `{"type", "value", "location"}`, an expression has `terms` and may be `negated`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.policy.authoring.opa import Opa, errors, finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from extauthz.policy.authoring.finding import Finding

PROCESSES: Final = 4


@dataclass(frozen=True, slots=True)
class Module:
    """One file. `file` is its path below the policy directory, `package` its path below `data`."""

    file: str
    package: tuple[str, ...]
    tree: dict[str, Any]

    @property
    def rules(self) -> list[dict[str, Any]]:
        return self.tree.get("rules") or []


def parse(opa: Opa, files: Iterable[str]) -> tuple[list[Module], list[Finding]]:
    """The modules of the files that parse, and what is wrong with the others. Blocks, about 10 ms a file."""

    def one(file: str) -> Module | list[Finding]:
        answer = opa.json("parse", "--format", "json", "--json-include", "locations", file)
        if not isinstance(answer, dict) or "package" not in answer:
            return [finding(error) for error in errors(answer)]
        path = tuple(str(part["value"]) for part in answer["package"]["path"][1:])
        return Module(file, path, answer)

    with ThreadPoolExecutor(PROCESSES) as threads:
        answers = list(threads.map(one, sorted(files)))
    modules = [answer for answer in answers if isinstance(answer, Module)]
    return modules, [found for answer in answers if isinstance(answer, list) for found in answer]


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree below `node`, itself included, in the order of the source."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield here
            waiting.extend(reversed([value for key, value in here.items() if key not in ("location", "annotations")]))
        elif isinstance(here, list):
            waiting.extend(reversed(here))


def refs(node: Any) -> Iterator[dict[str, Any]]:
    return (term for term in walk(node) if term.get("type") == "ref" and isinstance(term.get("value"), list))


def constant_prefix(ref: dict[str, Any]) -> tuple[str, ...]:
    """`input.a[x].b` → ("input", "a"). A first part that is no variable, as in `f(x).y`, gives nothing."""
    parts: list[str] = []
    for index, part in enumerate(ref["value"]):
        if part.get("type") != ("string" if index else "var"):
            break
        parts.append(str(part["value"]))
    return tuple(parts)


def whole(ref: dict[str, Any]) -> bool:
    """Whether every part of the reference is a constant."""
    return len(constant_prefix(ref)) == len(ref["value"])


def members(term: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The members of an object term whose keys are strings."""
    pairs = term.get("value")
    if term.get("type") != "object" or not isinstance(pairs, list):
        return {}
    return {str(key["value"]): value for key, value in pairs if key.get("type") == "string"}


def place(node: dict[str, Any]) -> tuple[int, int]:
    """Line and column, from 1; zeros where the tree has none."""
    location = node.get("location") or {}
    return int(location.get("row", 0)), int(location.get("col", 0))


def entrypoints(module: Module) -> dict[str, tuple[int, int]]:
    """Rule name → place, of the rules that the file's metadata declares as entrypoints."""
    found = {}
    for rule in module.rules:
        if any(note.get("entrypoint") for note in rule.get("annotations") or ()):
            found[rule_name(rule)] = place(rule)
    return found


def rule_name(rule: dict[str, Any]) -> str:
    """The rule's path within its package, with slashes."""
    head = rule.get("head") or {}
    parts = head.get("ref") or []
    names = [str(part["value"]) for index, part in enumerate(parts) if not index or part.get("type") == "string"]
    return "/".join(names) or str(head.get("name", ""))
