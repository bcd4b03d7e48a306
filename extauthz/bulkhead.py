"""A bulkhead: so many calls at once to one endpoint, and so many that wait. One endpoint that is slow fills its own
places and nobody else's, and a queue that only grows is refused before it costs memory and time."""

from __future__ import annotations

import asyncio


class Full(Exception):
    """All places are taken, and as many calls wait as may."""


class Bulkhead:
    """`async with bulkhead:` holds a place; raises Full at once where no more may wait. Waiting is first come, first
    served, and the caller bounds it in time."""

    __slots__ = ("_places", "_room", "waiting")

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._room = waiting
        self.waiting = 0

    async def __aenter__(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        if self.waiting >= self._room:
            raise Full
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._places.release()
