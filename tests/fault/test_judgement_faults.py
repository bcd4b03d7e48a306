"""Asynchronous judgement under faults: nothing that was let through is lost, nothing counts twice.

Real worker processes and a SIGKILL in the middle (`bench.judgement`, with fewer requests), a real Redis that stops, a
file that is full or gone.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.judgement import EVERY, compare, experiment, send, served, settled
from extauthz.app import Application
from tests.support import parts
from tests.support.bank import Bank, open_bank, route
from tests.support.engines import eventually
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.fault, pytest.mark.embedded, pytest.mark.opa]
REQUESTS = 3000


@pytest.fixture
def folder() -> Iterator[Path]:
    parts.require_opa()
    parts.require_embedded()
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    server = RedisServer(durable=True)
    await server.start()
    yield server
    server.close()


async def test_a_worker_is_killed_judged_and_reported_are_what_was_accepted(folder: Path) -> None:
    queue = {"kind": "sqlite", "path": str(folder / "judgement.sqlite"), "timeout": "10s"}
    outcome = await experiment(folder, queue, requests=REQUESTS)
    assert outcome.problems == [], outcome.line()
    assert len(outcome.sent.killed) == 2
    assert len(outcome.sent.allowed) + len(outcome.sent.unanswered) == REQUESTS
    assert len(outcome.sent.allowed) > REQUESTS / 2


async def test_the_same_over_redis(folder: Path, redis: RedisServer) -> None:
    outcome = await experiment(folder, {"kind": "redis", "url": redis.url, "timeout": "10s"}, requests=1000)
    assert outcome.problems == [], outcome.line()
    assert len(outcome.sent.allowed) > 500


async def test_a_server_that_stops_leaves_what_waits_for_its_next_start(folder: Path) -> None:
    """Killed as a whole while requests come: the next start judges what had been let through."""
    queue = {"kind": "sqlite", "path": str(folder / "judgement.sqlite"), "timeout": "10s"}
    async with served(folder, queue, requests=REQUESTS) as server:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send(server, 1000, kills=0))
            await asyncio.sleep(0.5)
            server.part.kill()
            server.part.start()
            await server.ready()
        sent = sending.result()
        outcome = compare(sent, *await settled(server, 60.0))
    assert outcome.problems == [], outcome.line()
    assert len(sent.allowed) > 100
    assert any(int(verdict.request_id) % EVERY == 0 for verdict in outcome.verdicts)


def background(queue: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "judgement": {"queue": queue},
        "routes": [route("create-transfer", evaluation="async", judgement=rule)],
    }


@asynccontextmanager
async def opened(folder: Path, config: dict[str, Any]) -> AsyncIterator[Bank]:
    bank = await open_bank(folder, **config)
    try:
        yield bank
    finally:
        await bank.close()


def judged(bank: Bank) -> int:
    if not (bank.directory / "records.jsonl").exists():
        return 0
    return sum(record["type"] == "judgement" for record in bank.records())


async def answers(bank: Bank) -> tuple[int, str, str | None]:
    answer = await bank.ask(budget=4.0)
    return answer.status, answer.code, answer.headers.get("x-extauthz-mode")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [({}, (200, "", None)), ({"when_full": "refuse"}, (503, "engine.queue_full", None))],
)
async def test_redis_stops_and_the_route_says_what_follows(
    folder: Path, redis: RedisServer, rule: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    async with opened(folder, background({"kind": "redis", "url": redis.url, "timeout": "300ms"}, rule)) as bank:
        assert await answers(bank) == (200, "", "async")
        await eventually(lambda: judged(bank) == 1)
        redis.pause()
        assert await answers(bank) == expected
        assert await answers(bank) == expected  # at once: nobody waits for it again
        redis.resume()
        bank.clock.advance(2)

        async def again() -> bool:
            bank.clock.advance(0.5)
            return await answers(bank) == (200, "", "async")

        await eventually(again)


async def test_a_restart_while_redis_is_away_refuses_what_a_quarantine_could_cover(
    folder: Path, redis: RedisServer
) -> None:
    queue = {"kind": "redis", "url": redis.url, "timeout": "300ms"}
    config = background(queue, {"quarantine": {"by": "token"}})
    config["routes"].append(route("other", match={"path": "/v1/other", "methods": ["POST"]}))
    redis.kill()
    async with opened(folder, config) as bank:
        assert await answers(bank) == (503, "engine.queue_full", None)
        assert (await bank.ask(route="other", path="/v1/other")).status == 200
        await redis.start()

        async def again() -> bool:
            bank.clock.advance(0.5)
            return await answers(bank) == (200, "", "async")

        await eventually(again)


async def test_a_full_file_takes_no_more_and_loses_nothing(folder: Path) -> None:
    """The bound of the file stands for the disk's: what does not fit is judged at once, what fitted is judged."""
    queue = {"kind": "sqlite", "path": "./judgement.sqlite", "max_size": "1MiB"}
    async with opened(folder, background(queue, {})) as bank:
        bank.app._active.office._judge._desk = None  # nobody judges, so the file fills
        note = {"amount": 1, "currency": "EUR", "type": "wire", "tenant": "acme", "region": "eu", "note": "x" * 50_000}
        modes = []
        for _ in range(40):
            answer = await bank.ask(body=note, budget=4.0)
            assert answer.status == 200
            modes.append(answer.headers.get("x-extauthz-mode"))
            bank.clock.advance(0.1 if modes[-1] else 2.0)
            if modes[-3:] == [None] * 3:
                break
        accepted = modes.count("async")
        assert 5 < accepted < len(modes)
        bank.app._active.background.open(bank.app._active.pipeline)
        await eventually(lambda: judged(bank) == accepted)


async def test_a_directory_that_is_gone(folder: Path) -> None:
    place = folder / "queue"
    place.mkdir()
    async with opened(folder, background({"kind": "sqlite", "path": "./queue/judgement.sqlite"}, {})) as bank:
        assert await answers(bank) == (200, "", "async")
        await eventually(lambda: judged(bank) == 1)
        await bank.app.stop()
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
        bank.app = Application(bank.run_dir, transport="test", clock=bank.clock)
        await bank.app.start()
        assert await answers(bank) == (200, "", None)
        place.mkdir(mode=0o700)

        async def again() -> bool:
            bank.clock.advance(1.5)
            return await answers(bank) == (200, "", "async")

        await eventually(again)
        assert (place / "judgement.sqlite").stat().st_mode & 0o077 == 0
