"""Work off the answering path: a bounded queue of comparisons that never slows or changes an answer.

`offer` appends or drops; both take constant time and neither waits. A few tasks take from the queue, one question at a
time, with a deadline of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)

Work = TypeVar("Work")


class Shadow(Generic[Work]):
    """`do` handles one piece of work; what it raises is logged once and changes nothing."""

    __slots__ = ("_do", "_queue", "_room", "_some", "_told", "done", "dropped", "running")

    def __init__(self, do: Callable[[Work], Awaitable[None]], *, room: int) -> None:
        self._do = do
        self._room = room
        self._queue: deque[Work] = deque()
        self._some = asyncio.Event()
        self._told = False
        self.dropped = 0
        self.done = 0
        self.running = 0

    def __len__(self) -> int:
        return len(self._queue)

    def start(self, tasks: Tasks, workers: int) -> None:
        for number in range(workers):
            tasks.start(self._run(), f"candidate {number}")

    def offer(self, work: Work) -> bool:
        """False when there is no room: the work is dropped and counted."""
        if len(self._queue) >= self._room:
            self.dropped += 1
            return False
        self._queue.append(work)
        self._some.set()
        return True

    def clear(self) -> None:
        """Forget what waits."""
        self._queue.clear()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            while self._queue:
                work = self._queue.popleft()
                self.running += 1
                try:
                    await self._do(work)
                except Exception:
                    if not self._told:
                        self._told = True
                        log.exception("a comparison with the candidate failed")
                finally:
                    self.running -= 1
                    self.done += 1
                await asyncio.sleep(0)  # Checks go first
            self._some.clear()
