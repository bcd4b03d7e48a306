"""What would have been allowed: the policy is asked again with values changed, and only what it then allows is told.

1. The values that may matter are those at the paths which the entrypoint reads.
2. Candidates for them: the inputs of decision cases, other values of this input, constants of the policy and its data,
   and no value at all.
3. Every path is changed alone. Numbers are then bisected between an allowed and a denied one, to find the bound.
4. When no single change is enough, changes that lead to another denial are kept and the search goes on from there,
   a few changes deep; what turns out not to be needed is taken back.

Nothing is guessed: each proposal was evaluated, and is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.codes import Layer
from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny
from extauthz.strict_json import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from extauthz.policy.cases import Evaluate

    Path = tuple[str, ...]

MAX_QUESTIONS: Final = 30_000
MAX_CANDIDATES: Final = 400
MAX_CHANGES: Final = 4
BEAM: Final = 4
MAX_VALUES: Final = 8
BISECTIONS: Final = 60
MAX_PATHS: Final = 64


@dataclass(frozen=True, slots=True)
class Change:
    """At `path`, `before` (MISSING when absent); `values` are some that are allowed there.

    `at_most` and `at_least` bound the numbers that are allowed around those tried.
    """

    path: Path
    before: Any
    values: tuple[Any, ...]
    at_most: float | None = None
    at_least: float | None = None


class WhatIf:
    """`paths` are what the entrypoint reads; the empty path stands for every value of the input."""

    def __init__(
        self,
        evaluate: Evaluate,
        entrypoint: str,
        document: Mapping[str, Any],
        paths: Iterable[Path],
        pool: Iterable[Any],
    ) -> None:
        self._evaluate = evaluate
        self._entrypoint = entrypoint
        self._document = document
        self._paths = list(dict.fromkeys(_concrete(document, paths)))[:MAX_PATHS]
        self._pool = _distinct(pool)
        self._asked = 0

    def single(self, known: Mapping[Path, Sequence[Any]]) -> list[Change]:
        """Each path whose change alone is allowed. `known` are values at a path in inputs that are allowed."""
        found = []
        for path in self._paths:
            allowed = [
                value
                for value in self._candidates(path, self._document, known)
                if isinstance(self._ask(changed_at(self._document, path, value)), Allow)
            ]
            if allowed:
                found.append(self._bounded(path, allowed))
        return found

    def several(self, known: Mapping[Path, Sequence[Any]], denied: Deny) -> list[Change]:
        """A smallest set of changes that the search found to be allowed together; empty when it found none."""
        beam: list[tuple[dict[Path, Any], Deny]] = [({}, denied)]
        seen = {denied.code}
        for _ in range(MAX_CHANGES):
            following: list[tuple[dict[Path, Any], Deny]] = []
            for changes, _reached in beam:
                base = _all_changed(self._document, changes)
                for path in self._paths:
                    for value in self._candidates(path, base, known):
                        answer = self._ask(changed_at(base, path, value))
                        if isinstance(answer, Allow):
                            return self._needed({**changes, path: value})
                        if answer is not None and (
                            answer.code not in seen or len(answer.reasons) < len(_reached.reasons)
                        ):
                            following.append(({**changes, path: value}, answer))
            beam = sorted(following, key=lambda one: (len(one[1].reasons), -_rank(one[1])))[:BEAM]
            seen |= {answer.code for _, answer in beam}
            if not beam:
                return []
        return []

    def _needed(self, changes: dict[Path, Any]) -> list[Change]:
        for path in list(changes):
            fewer = {other: value for other, value in changes.items() if other != path}
            if fewer and isinstance(self._ask(_all_changed(self._document, fewer)), Allow):
                changes = fewer
        return [Change(path, at(self._document, path), (value,)) for path, value in changes.items()]

    def _ask(self, document: Mapping[str, Any]) -> Allow | Deny | None:
        """None: a fault of the policy, or enough was asked."""
        self._asked += 1
        if self._asked > MAX_QUESTIONS:
            return None
        try:
            return self._evaluate(self._entrypoint, orjson.dumps(document))
        except (EngineFault, orjson.JSONEncodeError):
            return None

    def _candidates(
        self, path: Path, document: Mapping[str, Any], known: Mapping[Path, Sequence[Any]]
    ) -> Iterator[Any]:
        now = at(document, path)
        here = list(known.get(path, ()))
        own = [value for other in self._paths if (value := at(document, other)) is not MISSING]
        usable = [value for value in _distinct([*here, *own, *self._pool]) if _fits(now, value)]
        if isinstance(now, list) or (now is MISSING and any(isinstance(value, list) for value in here)):
            texts = [value for value in self._pool if isinstance(value, str)]
            usable += [[*(now if isinstance(now, list) else []), text] for text in texts]
        if now is not MISSING:
            usable.append(MISSING)
        yield from (value for value in usable[:MAX_CANDIDATES] if not _same(value, now))

    def _bounded(self, path: Path, allowed: list[Any]) -> Change:
        before = at(self._document, path)
        numbers = [value for value in allowed if _number(value)]
        if not _number(before) or not numbers:
            return Change(path, before, tuple(allowed[:MAX_VALUES]))
        lower = [value for value in numbers if value < before]
        higher = [value for value in numbers if value > before]
        at_most = self._bound(path, max(lower), before) if lower else None
        at_least = self._bound(path, min(higher), before) if higher else None
        return Change(path, before, tuple(allowed[:MAX_VALUES]), at_most, at_least)

    def _bound(self, path: Path, good: float, bad: float) -> float:
        """The allowed number that is nearest to the denied one."""
        whole = isinstance(good, int) and isinstance(bad, int)
        for _ in range(BISECTIONS):
            middle = (good + bad) // 2 if whole else (good + bad) / 2
            if middle in (good, bad) or abs(bad - good) <= (1 if whole else 0.005):
                break
            if isinstance(self._ask(changed_at(self._document, path, middle)), Allow):
                good = middle
            else:
                bad = middle
        return good


def at(document: Any, path: Path) -> Any:
    """The value at a path; MISSING when there is none."""
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return MISSING
        document = document[part]
    return document


def leaves(document: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all values that are no objects."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif path:
        yield path


def _concrete(document: Mapping[str, Any], paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        value = at(document, path)  # of the empty path: the document itself
        if isinstance(value, dict) and value:
            yield from leaves(value, path)
        elif path:
            yield path


def changed_at(document: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of the objects on the way; all else is shared."""
    changed = dict(document)
    holder = changed
    for part in path[:-1]:
        below = holder.get(part)
        holder[part] = dict(below) if isinstance(below, dict) else {}
        holder = holder[part]
    if value is MISSING:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return changed


def _all_changed(document: Mapping[str, Any], changes: Mapping[Path, Any]) -> dict[str, Any]:
    changed = dict(document)
    for path, value in changes.items():
        changed = changed_at(changed, path, value)
    return changed


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({orjson.dumps(value): value for value in values}.values())


def _fits(now: Any, value: Any) -> bool:
    """Whether a value is of the kind that stands there; where nothing stands, anything is."""
    if now is MISSING or now is None:
        return True
    if _number(now):
        return _number(value)
    return type(value) is type(now)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _rank(answer: Deny) -> int:
    """How far a request came: later layers are asked later."""
    return list(Layer).index(answer.layer)
