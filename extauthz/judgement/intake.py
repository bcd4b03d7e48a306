"""Takes requests into the queue, many in one transaction: while one commit runs, the next ones gather.

1. Who asks gets True only when the queue has answered that it holds the entry.
2. Who stops waiting (its deadline, its caller gone) gets False, and the entry is taken out of the queue again.
3. When the queue failed, nobody knows whether it holds the entries: they are withdrawn before anything else is put.
   For a moment after a failure nobody is kept waiting for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.clock import Clock
    from extauthz.judgement.queue import Queue, Waiting
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)
_AT_ONCE: Final = 256
"""Entries in one transaction."""
_GATHERING: Final = 4096
"""Entries that may wait for their transaction."""
_PAUSE: Final = 1.0
"""Seconds after a failure in which nothing is tried."""
_MAX_DOUBTS: Final = 10_000


@dataclass(slots=True, eq=False)
class _Place:
    entry: Waiting
    taken: asyncio.Future[bool]


class Intake:
    """`arrived` is called when the queue holds more."""

    def __init__(self, queue: Queue, clock: Clock, arrived: Callable[[], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._arrived = arrived
        self._places: deque[_Place] = deque()
        self._some = asyncio.Event()
        self._doubts: deque[str] = deque(maxlen=_MAX_DOUBTS)
        self._resume = 0.0

    def start(self, tasks: Tasks) -> None:
        tasks.start(self._run(), "judgement intake")

    async def put(self, entry: Waiting, seconds: float) -> bool:
        """Whether the queue holds `entry`, asked for at most `seconds`."""
        if len(self._places) >= _GATHERING or self._clock.monotonic() < self._resume or seconds <= 0:
            return False
        place = _Place(entry, asyncio.get_running_loop().create_future())
        self._places.append(place)
        self._some.set()
        try:
            async with asyncio.timeout(seconds):
                return await place.taken
        except TimeoutError:
            # 2: answered in the very moment in which the time ended, or not at all
            return not place.taken.cancelled() and place.taken.done() and place.taken.result()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._places:
                most = min(len(self._places), _AT_ONCE)
                places = [place for place in (self._places.popleft() for _ in range(most)) if not place.taken.done()]
                try:
                    await self._put(places)
                except StoreError as error:
                    self._failed(places, error)
                finally:
                    for place in places:  # also when we are cancelled: nobody waits for good
                        if not place.taken.done():
                            place.taken.set_result(False)

    async def _put(self, places: list[_Place]) -> None:
        """Raises StoreError."""
        while self._doubts:  # 3
            doubts = [*self._doubts][:_AT_ONCE]
            await self._queue.withdraw(doubts)
            for _ in doubts:
                self._doubts.popleft()
        if not places:
            return
        taken = await self._queue.put([place.entry for place in places])  # 1
        gone = []
        for index, place in enumerate(places):
            if not place.taken.done():
                place.taken.set_result(index < taken)
            elif index < taken:
                gone.append(place.entry.id)
        if gone:  # 2
            self._doubts.extend(gone)
            await self._queue.withdraw(gone)
            for _ in gone:
                self._doubts.popleft()
        if taken:
            self._arrived()

    def _failed(self, places: list[_Place], error: StoreError) -> None:
        """Who was not answered yet is not waited for any more, and what may have been put is withdrawn later."""
        self._resume = self._clock.monotonic() + _PAUSE
        unsure = (place for place in places if not place.taken.done() or place.taken.cancelled())
        self._doubts.extend(place.entry.id for place in unsure)
        while self._places:
            if not (place := self._places.popleft()).taken.done():
                place.taken.set_result(False)
        log.warning("the judgement queue takes no requests: %s", error)
