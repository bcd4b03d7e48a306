"""Which rule gave an answer and which conditions did not hold, read out of OPA's own trace.

The trace is a list of events: a query is entered, its expressions are evaluated, fail, or lead to an exit. Indexing and
early exits are switched off for it, so that a rule which OPA would have skipped is seen to fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.codes import POLICY_LAYERS
from extauthz.policy.authoring.rego_ast import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(r"[A-Za-z_][\w.]*(?:\[[^\]]*\])*")
_INPUT: Final = re.compile(r"\binput(?:\.[A-Za-z_]\w*)+")
_CODE: Final = re.compile(r"([a-z]+)\.[a-z0-9_]{1,64}")
MAX_CONDITIONS: Final = 12
MAX_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression of the policy. `values` are what its operands were, as the source spells them.

    `reads` are the paths of the input on its line.
    """

    file: str
    line: int
    source: str
    values: tuple[tuple[str, Any], ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """`rule` is the rule that gave the answer, None when the trace does not show one.

    `failed` are the conditions that did not hold and whose failure led there; `held` are those of the rule itself.
    """

    rule: Condition | None
    name: str
    failed: tuple[Condition, ...]
    held: tuple[Condition, ...]


class Trace:
    """`sources` are the policy's texts by file name."""

    def __init__(self, events: Sequence[dict[str, Any]], sources: dict[str, str]) -> None:
        self._events = events
        self._lines = {name: text.splitlines() for name, text in sources.items()}
        self._below: dict[int, list[int]] = {}
        self._of: dict[int, list[int]] = {}
        self._exited: set[int] = set()
        for index, event in enumerate(events):
            query = int(event["QueryID"])
            self._of.setdefault(query, []).append(index)
            if event["Op"] == "Enter":
                self._below.setdefault(int(event["ParentID"]), []).append(index)
            elif event["Op"] == "Exit":
                self._exited.add(query)

    def story(self, *, code: str, entrypoint: str) -> Story:
        """Why there was a reason with `code`; with an empty code, why the entrypoint answered as it did."""
        exits = [event for event in self._events if event["Op"] == "Exit" and _is_rule(event["Node"])]
        giving = [event for event in exits if code and code in _texts(event["Node"])]
        giving = giving or [
            event for event in exits if _path(event["Node"]) and entrypoint.endswith(_path(event["Node"]))
        ]
        if not giving:
            return Story(None, "", (), ())
        event = giving[0]
        query = int(event["QueryID"])
        failed = list(self._before(event)) + list(self._under(query, negated=True))
        telling = [one for one in failed if one.values or one.reads]
        rule = self._condition(event, rule=True)
        held = [one for one in self._held(query) if one.line != rule.line]
        return Story(rule, _path(event["Node"]), _first(telling or failed), _first(held))

    def _before(self, event: dict[str, Any]) -> Iterator[Condition]:
        """The conditions for which earlier branches of the rule did not apply: those that would not have denied."""
        path, parent, query = _path(event["Node"]), int(event["ParentID"]), int(event["QueryID"])
        for index in self._below.get(parent, []):
            other = self._events[index]
            if int(other["QueryID"]) == query:
                return
            if _is_rule(other["Node"]) and _path(other["Node"]) == path and not _denies(other["Node"]):
                yield from self._under(int(other["QueryID"]), negated=False)

    def _under(self, query: int, *, negated: bool, depth: int = 0) -> Iterator[Condition]:
        """The expressions that failed in a query, each followed into the rules that it asked.

        With `negated`, those that a `not` of the query stands before: their failure is why it held.
        """
        if depth > 32:  # noqa: PLR2004 - deeper than anybody reads
            return
        started = -1
        for index in self._of.get(query, []):
            event = self._events[index]
            if event["Op"] == "Eval":
                started = index
                if negated and event["Node"].get("negated"):
                    for below in self._failing(query, index, self._end(query, index)):
                        yield from self._under(below, negated=False, depth=depth + 1)
            elif event["Op"] == "Fail" and not negated and started >= 0:
                yield from self._leaf(event, query, started, index, depth)

    def _leaf(self, event: dict[str, Any], query: int, start: int, end: int, depth: int) -> Iterator[Condition]:
        deeper: list[Condition] = []
        if event["Node"].get("negated"):  # what it negates is true: that is the cause itself
            yield self._condition(event)
            return
        for below in self._failing(query, start, end):
            deeper += self._under(below, negated=False, depth=depth + 1)
        yield from deeper or [self._condition(event)]

    def _failing(self, query: int, start: int, end: int) -> Iterator[int]:
        """Queries below `query`, entered between two events, that led nowhere, unless a rule of the same name did."""
        entered = [self._events[index] for index in self._below.get(query, []) if start < index < end]
        good = {_path(event["Node"]) for event in entered if int(event["QueryID"]) in self._exited} - {""}
        for event in entered:
            if int(event["QueryID"]) not in self._exited and _path(event["Node"]) not in good:
                yield int(event["QueryID"])

    def _end(self, query: int, index: int) -> int:
        """The next event of the same query."""
        return next((later for later in self._of[query] if later > index), len(self._events))

    def _held(self, query: int) -> Iterator[Condition]:
        for index in self._of.get(query, []):
            event = self._events[index]
            if event["Op"] == "Eval" and _place(event)[0]:
                yield self._condition(event)

    def _condition(self, event: dict[str, Any], *, rule: bool = False) -> Condition:
        file, line = _place(event)
        text = self._line(file, line)
        reads = tuple(dict.fromkeys(match.removeprefix("input.") for match in _INPUT.findall(text)))
        return Condition(file, line, text.strip(), () if rule else self._values(event, file, line), reads)

    def _values(self, event: dict[str, Any], file: str, line: int) -> tuple[tuple[str, Any], ...]:
        """What the operands on the expression's own line were: OPA knows the column of each of its variables."""
        used = {term["value"] for term in walk(event["Node"]) if term.get("type") == "var"}
        metadata = event.get("LocalMetadata") or {}
        values: dict[str, Any] = {}
        for local in event.get("Locals") or ():
            about = metadata.get(local["name"]) or {}
            place = about.get("location") or {}
            if local["name"] not in used or place.get("file") != file or place.get("row") != line:
                continue
            match = _TOKEN.match(self._line(file, line), int(place.get("col", 1)) - 1)
            if match is not None:
                values[match[0]] = plain(local)
        return tuple(values.items())

    def _line(self, file: str, line: int) -> str:
        lines = self._lines.get(file, [])
        return lines[line - 1] if 0 < line <= len(lines) else ""


def plain(term: dict[str, Any]) -> Any:
    """A ground term of OPA's tree as JSON."""
    kind, value = term.get("type"), term.get("value")
    if kind in ("array", "set") and isinstance(value, list):
        return [plain(one) for one in value]
    if kind == "object" and isinstance(value, list):
        return {str(plain(key)): plain(one) for key, one in value}
    return value


def _first(conditions: list[Condition]) -> tuple[Condition, ...]:
    """Without repetitions: an expression in a loop fails once an element."""
    known: dict[tuple[str, int], Condition] = {}
    for one in conditions:
        if one.source:
            known.setdefault((one.file, one.line), one)
    return tuple(known.values())[:MAX_CONDITIONS]


def _is_rule(node: Any) -> bool:
    return isinstance(node, dict) and "head" in node


def _path(node: Any) -> str:
    """A rule's name as its head spells it, with slashes; empty for a query that is no rule."""
    if not _is_rule(node):
        return ""
    head = node["head"]
    parts = [str(part.get("value")) for part in head.get("ref") or () if part.get("type") in ("var", "string")]
    return "/".join(parts) or str(head.get("name", ""))


def _texts(node: dict[str, Any]) -> set[str]:
    """The string literals of a rule, without those of its other branches."""
    own = {key: value for key, value in node.items() if key != "else"}
    return {str(term["value"]) for term in walk(own) if term.get("type") == "string"}


def _denies(node: dict[str, Any]) -> bool:
    """Whether a branch of a rule gives a reason: its own conditions then speak for the request when they fail."""
    matches = filter(None, (_CODE.fullmatch(text) for text in _texts(node) if "." in text))
    return any(match[1] in POLICY_LAYERS for match in matches)


def _place(event: dict[str, Any]) -> tuple[str, int]:
    location = event.get("Location") or {}
    return str(location.get("file", "")), int(location.get("row", 0))
