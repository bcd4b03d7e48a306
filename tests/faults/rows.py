"""A row of the table: one fault, what was promised, what was seen; and the course that most rows take.

A promise that does not hold is a sentence in `broken`, never an exception: the other rows still run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.lab import Plan, now
from tests.faults.oracle import ENVOY_TIMEOUT, MARGIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.faults.lab import Lab
    from tests.faults.load import Load
    from tests.faults.oracle import Answer, Kind


@dataclass
class Row:
    """Times in seconds. `detected`: from the fault to the moment in which an operator could see it, by `operator`.
    `recovered`: from the repair, or from the fault where nobody repairs,
    to the last honest request that still suffered."""

    name: str
    fault: str
    promise: str
    codes: Counter[str] = field(default_factory=Counter)
    """What honest requests got while the fault lasted."""
    requests: int = 0
    lost: int = 0
    wrong: int = 0
    longest: float = 0.0
    detected: float | None = None
    operator: str = ""
    recovered: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def hold(self, condition: object, otherwise: str) -> None:
        if not condition:
            self.broken.append(otherwise)

    def take(self, answers: Iterable[Answer], tolerated: frozenset[str] = frozenset()) -> None:
        """Counts every answer. `tolerated`: refusals of honest requests that this fault may cause."""
        lost: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        for one in answers:
            self.requests += 1
            self.longest = max(self.longest, one.took)
            if one.of == "wrong":
                self.wrong += 1
                wrong[f"{one.kind.name}: {one.label}"] += 1
            elif one.of == "lost" and one.code not in tolerated:
                self.lost += 1
                lost[f"{one.kind.name}: {one.label}{' late' if one.late else ''}"] += 1
        self.broken += [f"wrongly allowed: {what} ({count})" for what, count in wrong.most_common(5)]
        self.broken += [f"lost: {what} ({count})" for what, count in lost.most_common(5)]
        self.hold(self.requests, "no request was made")

    @property
    def kept(self) -> bool:
        return not self.broken

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fault": self.fault,
            "promise": self.promise,
            "seen": {
                "codes": dict(self.codes.most_common()),
                "requests": self.requests,
                "longest_ms": round(self.longest * 1e3),
                "deadline_ms": round((ENVOY_TIMEOUT + MARGIN) * 1e3),
                "detected_s": None if self.detected is None else round(self.detected, 2),
                "operator": self.operator,
                "recovered_s": None if self.recovered is None else round(self.recovered, 2),
                **self.facts,
            },
            "lost": self.lost,
            "wrongly_allowed": self.wrong,
            "kept": self.kept,
            "broken": self.broken,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Scenario:
    name: str
    fault: str
    promise: str
    run: Callable[[Lab, Row], Awaitable[None]]
    core: bool = False


@dataclass(frozen=True)
class Family:
    """Scenarios that share one platform, in this order; None: they bring their own."""

    name: str
    plan: Plan | None
    scenarios: tuple[Scenario, ...]


@dataclass
class Course:
    """What was answered before, during and after the fault."""

    before: list[Answer]
    during: list[Answer]
    after: list[Answer]

    def codes(self, route: str, must: str = "allow") -> Counter[str]:
        return Counter(one.label for one in self.during if one.kind.route == route and one.kind.must == must)


async def course(
    lab: Lab,
    row: Row,
    *,
    fault: Callable[[], Awaitable[object]],
    repair: Callable[[], Awaitable[object]],
    sign: Callable[[], Awaitable[str]],
    during: float = 2.5,
    kinds: list[Kind] | None = None,
    tolerated: frozenset[str] = frozenset(),
) -> Course:
    """1. load, until all is well  2. the fault  3. wait for its sign  4. the repair  5. until all is well again."""
    async with lab.load(kinds) as load:
        begun = now()
        row.hold(await load.good(), "honest requests were not served before the fault")  # 1
        broke = now()
        await asyncio.gather(_lasts(fault, during), _watch(row, broke, sign, during + 10))  # 2, 3
        mended = now()
        await repair()  # 4
        row.hold(await load.good(mended), f"not recovered: {_bad(load, mended)}")  # 5
        row.recovered = load.last_bad(broke if repair is nothing else mended)
    seen = Course(load.between(begun, broke), load.between(broke, mended), load.between(mended, now()))
    for one in seen.during:
        if one.kind.must == "allow":
            row.codes[one.label] += 1
    row.take(load.answers, tolerated)
    row.hold(not lab.tracebacks(), f"a traceback in the log of {', '.join(lab.tracebacks())}")
    return seen


async def _lasts(fault: Callable[[], Awaitable[object]], seconds: float) -> None:
    await fault()
    await asyncio.sleep(seconds)


async def _watch(row: Row, since: float, sign: Callable[[], Awaitable[str]], seconds: float) -> None:
    """The first moment in which an operator sees something, and what."""
    while now() < since + seconds:
        if found := await sign():
            row.detected, row.operator = now() - since, found
            return
        await asyncio.sleep(0.1)
    row.hold(False, "no metric, log line or status names the fault")


def _bad(load: Load, since: float) -> str:
    last = {one.kind.name: one.label for one in load.answers if one.sent >= since and one.kind.must == "allow"}
    return ", ".join(f"{name}: {label}" for name, label in last.items())


async def nothing() -> None:
    await asyncio.sleep(0)
