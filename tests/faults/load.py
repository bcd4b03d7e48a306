"""Requests at a steady rate through the front Envoy: open loop, so that a slow answer makes no request wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from itertools import cycle
from typing import TYPE_CHECKING, Final, Self

from extauthz.tasks import Tasks
from tests.faults.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.oracle import Answer, Kind

RATE: Final = 150.0
"""Requests a second."""
GOOD_SHARE: Final = 4
"""Honest requests for each one that must be refused, by sort."""
IN_A_ROW: Final = 8
"""Honest requests of each sort that must be allowed one after the other before a fault counts as over."""
PATIENCE: Final = 45.0
WELL: Final = frozenset({"", "async"})
"""Modes of a server that lacks nothing."""


class Load:
    """Use it as an async context manager. `answers` are in the order in which they came."""

    def __init__(self, port: int, kinds: Sequence[Kind], rate: float = RATE, *, in_turn: bool = False) -> None:
        """`in_turn`: the sorts one after the other as they stand, in place of the usual mixture."""
        self.answers: list[Answer] = []
        self.kinds = list(kinds)
        self.rate = rate
        self._client = Client(port)
        self._tasks = Tasks()
        self._stop = asyncio.Event()
        self._turns = cycle(kinds if in_turn else _mixed(kinds))

    async def __aenter__(self) -> Self:
        self._running = self._tasks.start(self._run(), "load")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._running
        self._client.close()
        await self._tasks.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        under_way: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            task = self._tasks.start(self._one(next(self._turns)), "request")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            due = max(due + 1 / self.rate, loop.time() - 1)  # what a busy machine missed is not made up for at once
            await asyncio.sleep(max(0.0, due - loop.time()))
        if under_way:
            await asyncio.wait(under_way)

    async def _one(self, kind: Kind) -> None:
        self.answers.append(await self._client.ask(kind))

    async def good(self, since: float = 0.0, seconds: float = PATIENCE, *, routes: Iterable[str] = ()) -> bool:
        """Waits until every honest sort (of these routes) is served again, counting what was sent from `since` on."""
        wanted = frozenset(routes)
        honest = [k for k in self.kinds if k.must == "allow" and (not wanted or k.route in wanted)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(self._served(kind, since) for kind in honest):  # noqa: ASYNC110 - others' doing
                    await asyncio.sleep(0.05)
                return True
        return False

    def _served(self, kind: Kind, since: float) -> bool:
        last = [one for one in self.answers if one.kind is kind and one.sent >= since][-IN_A_ROW:]
        return len(last) == IN_A_ROW and all(well(one) for one in last)

    def last_bad(self, since: float, routes: Iterable[str] = ()) -> float:
        """Seconds from `since` to the sending of the last honest request that was not served as usual; 0: none."""
        wanted = frozenset(routes)
        bad = [
            one.sent - since
            for one in self.answers
            if one.kind.must == "allow"
            and one.sent >= since
            and not well(one)
            and (not wanted or one.kind.route in wanted)
        ]
        return max(bad, default=0.0)

    def between(self, start: float, end: float) -> list[Answer]:
        """Answers to what was sent in between."""
        return [one for one in self.answers if start <= one.sent < end]


def well(answer: Answer) -> bool:
    return answer.of == "allowed" and answer.mode in WELL


def p99(answers: Iterable[Answer]) -> float:
    """Seconds. 0 without answers."""
    took = sorted(one.took for one in answers)
    return took[int(len(took) * 0.99)] if took else 0.0


def _mixed(kinds: Sequence[Kind]) -> list[Kind]:
    """Honest ones `GOOD_SHARE` times, spread between the others."""
    by_must: dict[bool, list[Kind]] = defaultdict(list)
    for kind in kinds:
        by_must[kind.must == "allow"].append(kind)
    honest, others = by_must[True], by_must[False]
    turns: list[Kind] = []
    for place, bad in enumerate(others or honest):
        turns += [honest[(place * GOOD_SHARE + step) % len(honest)] for step in range(GOOD_SHARE)] if honest else []
        turns.append(bad)
    return turns


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it became true in time; for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True
