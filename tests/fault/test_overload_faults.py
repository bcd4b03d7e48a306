"""Overload with real parts: an OPA that stands still while requests come, and a loop that has too much to do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.check.admission import RANKS
from extauthz.clock import SystemClock
from extauthz.model import Allow
from extauthz.policy.engine import Evaluation, Query
from extauthz.tasks import Tasks
from tests.support import parts
from tests.support.bank import Answer, Bank, open_bank, route
from tests.support.engines import eventually, stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.fault
TASKS = Tasks()
MIX = ("critical", "normal", "normal", "sheddable", "sheddable")
"""20 % critical, 40 % normal, 40 % sheddable."""


def routes() -> list[dict[str, Any]]:
    made = []
    for name in RANKS:
        one = route(name, criticality=name, cache_ttl="0s")
        del one["match"]
        made.append(one)
    return made


async def opened(directory: Path, engine: str, in_flight: int) -> Bank:
    admission = {"in_flight": in_flight, "target": "3ms"}
    return await open_bank(directory, engine, server={"admission": admission}, routes=routes())


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    bank = await opened(tmp_path, "sidecar", 16)
    yield bank
    await bank.close()


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    bank = await opened(tmp_path, "embedded", 256)
    yield bank
    await bank.close()


@pytest.mark.opa
async def test_while_opa_stands_still_room_is_kept_for_who_matters_more(slow: Bank) -> None:
    """Nobody waits behind those that matter less, everybody has an answer in time, and nothing is allowed for it."""
    assert (await slow.ask(route="critical")).status == 200
    pid = slow.shared.opa_pid
    assert pid is not None
    await stop(pid)
    try:
        asked = {}
        for name in ("sheddable", "normal", "critical"):
            asked[name] = [TASKS.start(slow.ask(route=name, budget=0.4), "ask") for _ in range(20)]
            await asyncio.sleep(0)  # all of them have come as far as the engine
        found = {name: Counter([(await task).code for task in tasks]) for name, tasks in asked.items()}
    finally:
        os.kill(pid, signal.SIGCONT)
    shed = {name: codes.pop("engine.overloaded", 0) for name, codes in found.items()}
    assert shed == {"sheddable": 16, "normal": 16, "critical": 12}, "a quarter, a half, all of 16"
    assert all(set(codes) <= {"engine.deadline", "engine.unavailable"} for codes in found.values()), found

    async def back() -> bool:
        return all([(await slow.ask(route=name)).status == 200 for name in RANKS])

    await eventually(back)
    assert slow.app._metrics.in_flight == 0
    page = slow.app.metrics().decode()
    assert 'extauthz_shed_total{criticality="sheddable",route="sheddable"} 16.0' in page


class Burning:
    """An engine whose every answer takes this loop's CPU for a while."""

    revision = "r"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def evaluate(self, query: Query) -> Evaluation:
        del query
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        return Evaluation(Allow(), self.revision)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing to close."""


async def flood(bank: Bank, seconds: float, rate: float) -> dict[str, list[Answer]]:
    """Open loop: requests come when they are due, whether or not the loop keeps up."""
    asked: dict[str, list[asyncio.Task[Answer]]] = {name: [] for name in RANKS}
    loop = asyncio.get_running_loop()
    token, start, number = bank.token(), loop.time(), 0
    while (passed := loop.time() - start) < seconds:
        while number < passed * rate:
            name = MIX[number % len(MIX)]
            asked[name].append(TASKS.start(bank.ask(token, route=name, budget=5.0), "ask"))
            number += 1
        await asyncio.sleep(0.001)
    return {name: [await task for task in tasks] for name, tasks in asked.items()}


@pytest.mark.opa
@pytest.mark.embedded
async def test_a_loop_that_has_too_much_to_do_sheds_in_order_and_recovers(busy: Bank) -> None:
    active = busy.app._active
    assert active is not None
    admission: Any = active.pipeline.admission
    admission._clock = SystemClock()
    admission._since = time.monotonic()
    busy.use_engine(Burning(0.002))
    found = await flood(busy, 2.0, 2000)  # it can do less than 500 a second
    codes = {name: Counter(answer.code for answer in answers) for name, answers in found.items()}
    shed = {name: codes[name]["engine.overloaded"] / len(found[name]) for name in RANKS}
    assert shed["sheddable"] > 0.0
    assert shed["sheddable"] >= shed["normal"] >= shed["critical"]
    assert codes["critical"][""] > 0, "some critical requests always come on"
    assert {code for each in codes.values() for code in each} <= {"", "engine.overloaded"}
    retry = {answer.headers["retry-after"] for each in found.values() for answer in each if answer.status == 503}
    assert retry == {"1", "2", "3", "4"}

    async def calm() -> bool:
        return (await busy.ask(route="sheddable")).status == 200 and admission.level == 0.0

    await eventually(calm)
