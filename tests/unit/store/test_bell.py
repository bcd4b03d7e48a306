"""Who waits costs nothing until something may have come, and misses nothing."""

from __future__ import annotations

import asyncio

import pytest

from extauthz.store.bell import Bell
from extauthz.store.store import StoreError
from tests.support.engines import eventually


class Log:
    """A log of another process: it grows without a ring."""

    def __init__(self) -> None:
        self.newest = 0
        self.looks = 0
        self.asked = 0
        self.broken = False

    async def last(self, log: str) -> int:
        self.looks += 1
        if self.broken:
            raise StoreError("away")
        return self.newest

    async def holds(self) -> bool:
        self.asked += 1
        if self.broken:
            raise StoreError("away")
        return self.newest > 0


async def test_many_who_wait_look_once() -> None:
    log = Log()
    bell = Bell(log.last, 0.005)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = [group.create_task(bell.wait("events", log.holds, 20)) for _ in range(100)]
        await eventually(lambda: log.looks >= 10)
        assert log.asked == 200, "once at first, and once after the first look"
        log.newest = 1
    assert all(task.result() for task in waiting)
    looks = log.looks
    await asyncio.sleep(0.05)
    assert log.looks <= looks + 1, "nobody waits any more"
    assert await bell.wait("events", log.holds, 20)
    await bell.close()


async def test_a_store_that_goes_away_is_told_to_who_waits() -> None:
    log = Log()
    bell = Bell(log.last, 0.001)
    async with asyncio.timeout(20):
        waiting = asyncio.gather(*(bell.wait("events", log.holds, 20) for _ in range(3)), return_exceptions=True)
        await asyncio.sleep(0.01)
        log.broken = True
        assert {type(result) for result in await waiting} == {StoreError}
        log.broken = False
        assert not await bell.wait("events", log.holds, 0.01)
    await bell.close()


async def test_a_ring_is_for_one_log() -> None:
    log = Log()
    bell = Bell()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(bell.wait("events", log.holds, 20))
        await asyncio.sleep(0)
        bell.ring("others")
        await asyncio.sleep(0.01)
        assert log.asked == 1
        log.newest = 1
        bell.ring("events")
    assert waiting.result()
    await bell.close()


async def test_closing_wakes_everybody() -> None:
    log = Log()
    bell = Bell(log.last, 20)
    async with asyncio.timeout(10):
        waiting = asyncio.gather(bell.wait("events", log.holds, 20), return_exceptions=True)
        await asyncio.sleep(0.01)
        log.broken = True
        await bell.close()
        (result,) = await waiting
    with pytest.raises(StoreError):
        raise result
