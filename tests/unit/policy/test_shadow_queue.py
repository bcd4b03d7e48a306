"""The queue off the path: bounded, never waiting, and not stopped by a defect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from extauthz.policy.shadow import Shadow
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    running = Tasks()
    yield running
    await running.close()


async def settled(shadow: Shadow[int]) -> None:
    while len(shadow) or shadow.running:  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0)


async def test_what_does_not_fit_is_dropped_and_counted(tasks: Tasks) -> None:
    done: list[int] = []

    async def do(work: int) -> None:
        done.append(work)

    shadow: Shadow[int] = Shadow(do, room=3)
    assert [shadow.offer(work) for work in range(5)] == [True, True, True, False, False]
    assert shadow.dropped == 2
    assert done == []  # nothing ran while it was offered
    shadow.start(tasks, 2)
    await settled(shadow)
    assert sorted(done) == [0, 1, 2]
    assert shadow.offer(9)
    await settled(shadow)
    assert done[-1] == 9
    assert shadow.done == 4


async def test_a_slow_comparison_does_not_hold_back_the_others(tasks: Tasks) -> None:
    release = asyncio.Event()
    done: list[int] = []

    async def do(work: int) -> None:
        if work == 0:
            await release.wait()
        done.append(work)

    shadow: Shadow[int] = Shadow(do, room=10)
    shadow.start(tasks, 2)
    for work in range(4):
        shadow.offer(work)
    while len(done) < 3:  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0)
    assert sorted(done) == [1, 2, 3]
    assert shadow.running == 1
    release.set()
    await settled(shadow)
    assert done[-1] == 0


async def test_a_defect_is_told_once_and_stops_nothing(tasks: Tasks, caplog: pytest.LogCaptureFixture) -> None:
    async def do(work: int) -> None:
        raise ValueError(str(work))

    shadow: Shadow[int] = Shadow(do, room=10)
    shadow.start(tasks, 1)
    for work in range(3):
        shadow.offer(work)
    await settled(shadow)
    assert shadow.done == 3
    assert [record.message for record in caplog.records] == ["a comparison with the candidate failed"]


async def test_what_waits_can_be_forgotten() -> None:
    async def do(_: int) -> None:
        raise AssertionError

    shadow: Shadow[int] = Shadow(do, room=10)
    shadow.offer(1)
    shadow.clear()
    assert len(shadow) == 0
