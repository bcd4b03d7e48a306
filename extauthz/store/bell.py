"""How every store waits for a log to grow: each waiter costs nothing until something may have come."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from extauthz.store.store import StoreError
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Last = Callable[[str], Awaitable[int]]


class Bell:
    """Wakes those who wait for a log in this process. A store rings it when it knows that a log has grown.

    With `last`, the number of a log's newest entry is asked every `every` seconds, once for all who wait for that log:
    for entries that others append, and for a store that does not answer any more.
    """

    def __init__(self, last: Last | None = None, every: float = 0.0) -> None:
        self._last = last
        self._every = every
        self._rung: dict[str, asyncio.Event] = {}
        self._waiting: Counter[str] = Counter()
        self._watched: set[str] = set()
        self._tasks = Tasks()

    def ring(self, log: str) -> None:
        if (event := self._rung.pop(log, None)) is not None:
            event.set()

    def ring_all(self) -> None:
        for log in list(self._rung):
            self.ring(log)

    async def wait(self, log: str, holds: Callable[[], Awaitable[bool]], timeout: float) -> bool:
        """Until `holds()`, for at most `timeout` seconds and the time of one answer; asked after each ring.

        What `holds` raises is the caller's.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        self._waiting[log] += 1
        try:
            while True:
                rung = self._rung.setdefault(log, asyncio.Event())  # before asking: nothing is missed in between
                if await holds():
                    return True
                left = end - loop.time()
                if left <= 0:
                    return False
                self._watch(log)
                try:
                    async with asyncio.timeout(left):
                        await rung.wait()
                except TimeoutError:
                    continue
        finally:
            self._waiting[log] -= 1

    async def close(self) -> None:
        await self._tasks.close()
        self.ring_all()

    def _watch(self, log: str) -> None:
        if self._last is not None and log not in self._watched:
            self._watched.add(log)
            self._tasks.start(self._look(log, self._last), "store: look")

    async def _look(self, log: str, last: Last) -> None:
        """While somebody waits. What came before the first look rings as well: who waits has asked before it."""
        seen = -1
        try:
            while self._waiting[log] > 0:
                try:
                    newest = await last(log)
                except StoreError:
                    newest = -1
                    self.ring(log)  # who waits asks, and gets the error
                if newest != seen:
                    self.ring(log)
                seen = newest
                await asyncio.sleep(self._every)
        finally:
            self._watched.discard(log)
