"""A store that fails: an error in time, never a wrong "absent", and recovery without a restart.

And a Check server whose source of revocations fails: what it knows stays revoked; routes with effects deny once it is
too old, and serve again by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_follower import open_follower
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import SystemClock
from extauthz.store.opening import open_store
from extauthz.store.revocations import RevocationLog
from extauthz.store.settings import RedisStoreSettings, SqliteStoreSettings
from extauthz.store.store import StoreError
from extauthz.tasks import Tasks
from tests.support.engines import eventually
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.fault
FAR = SystemClock().now() + 3600


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    made = RedisServer(durable=True)
    await made.start()
    yield made
    made.close()


def redis_store(server: RedisServer, timeout: str = "300ms"):
    return open_store(RedisStoreSettings(kind="redis", url=server.url, timeout=timeout), SystemClock())


QUESTIONS = {
    "get": lambda store: store.get("things", "k"),
    "put": lambda store: store.put("things", "k", b""),
    "add": lambda store: store.add("things", "k", b""),
    "take": lambda store: store.take("things", "other"),
    "swap": lambda store: store.swap("things", "k", b"1", b"2"),
    "delete": lambda store: store.delete("things", "other"),
    "scan": lambda store: store.scan("things"),
    "append": lambda store: store.append("events", b""),
    "read": lambda store: store.read("events"),
    "last": lambda store: store.last("events"),
    "wait": lambda store: store.wait("events", 1000, 5),
}


async def faults(store) -> None:
    """Every question ends in a StoreError, within its time; the outer bound only keeps the test from hanging."""
    for name, ask in QUESTIONS.items():
        async with asyncio.timeout(10):
            with pytest.raises(StoreError):
                pytest.fail(f"{name} answered {await ask(store)!r}")


async def test_redis_killed_and_started_again(server) -> None:
    store = redis_store(server)
    await store.put("things", "k", b"1")
    assert await store.append("events", b"1") == 1
    assert not await store.wait("events", 1, 0.01)
    server.kill()
    await faults(store)
    await server.start()
    assert await store.get("things", "k") == b"1"
    assert await store.add("things", "k", b"2") is False
    assert await store.append("events", b"2") == 2
    await store.close()


async def test_redis_paused(server) -> None:
    store = redis_store(server)
    await store.put("things", "k", b"1")
    server.pause()
    await faults(store)
    server.resume()
    await eventually(lambda: answers(store))
    await store.close()


async def answers(store) -> bool:
    try:
        return await store.get("things", "k") is not None
    except StoreError:
        return False


async def test_who_waits_hears_again_after_redis_came_back(server) -> None:
    here, there = redis_store(server, "2s"), redis_store(server, "2s")
    assert not await here.wait("events", 0, 0.01)
    server.kill()
    await server.start()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(here.wait("events", 0, 15))
        await asyncio.sleep(0.1)
        await there.append("events", b"1")
    assert waiting.result()
    await here.close()
    await there.close()


async def test_a_wrong_password_is_a_fault_that_does_not_repeat_it(tmp_path) -> None:
    server = RedisServer("--requirepass", "right-and-secret")
    await server.start()
    path = tmp_path / "password"
    path.write_text("wrong-and-secret\n")
    settings = RedisStoreSettings(kind="redis", url=server.url, password_file=path)
    store = open_store(settings, SystemClock())
    with pytest.raises(StoreError) as caught:
        await store.get("things", "k")
    assert "secret" not in str(caught.value)
    await store.close()
    path.write_text("right-and-secret\n")
    store = open_store(settings, SystemClock())
    assert await store.get("things", "k") is None
    await store.close()
    server.close()


async def filled(store) -> None:
    for number in range(6):
        await store.put("things", f"big{number}", bytes(1_000_000))


async def test_redis_that_has_no_room() -> None:
    full = RedisServer("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    await full.start()
    store = redis_store(full, "2s")
    try:
        with pytest.raises(StoreError, match="memory"):
            await filled(store)
        for number in range(6):
            await store.delete("things", f"big{number}")
        await store.put("things", "k", b"1")
        assert await store.get("things", "k") == b"1"
    finally:
        await store.close()
        full.close()


async def test_a_redis_that_may_evict_is_no_store() -> None:
    cache = RedisServer("--maxmemory", "10mb", "--maxmemory-policy", "volatile-lru")
    await cache.start()
    store = redis_store(cache, "2s")
    with pytest.raises(StoreError, match="noeviction"):
        await store.put("things", "k", b"1")
    await store.close()
    cache.close()


DOCS = Path(__file__).parents[2] / "docs" / "revocation.md"
CHECKER = next(line for line in DOCS.read_text().splitlines() if line.startswith("user checker ")).split()


async def test_a_user_that_may_only_read_revocations(tmp_path) -> None:
    server = RedisServer("--" + CHECKER[0], *CHECKER[1:])
    await server.start()
    password = tmp_path / "password"
    password.write_text("secret")
    settings = {"url": server.url, "username": "checker", "password_file": password}
    writer, reader = redis_store(server, "2s"), open_store(RedisStoreSettings(kind="redis", **settings), SystemClock())
    log = RevocationLog(writer, SystemClock())
    await log.revoke("jti", "j-1", until=FAR, reason="test")
    assert (await RevocationLog(reader, SystemClock()).read()).sequence == 1
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(RevocationLog(reader, SystemClock()).read(1, wait=20))
        await asyncio.sleep(0.1)
        await log.revoke("jti", "j-2", until=FAR, reason="test")
    assert [entry.value for entry in waiting.result().entries] == ["j-2"]
    for refused in (RevocationLog(reader, SystemClock()).revoke("jti", "x", until=FAR, reason=""), reader.read("keys")):
        with pytest.raises(StoreError, match="NoPermission"):
            await refused
    await reader.close()
    await writer.close()
    server.close()


def sqlite_store(path, timeout: str = "300ms"):
    return open_store(SqliteStoreSettings(kind="sqlite", path=path, timeout=timeout), SystemClock())


async def test_sqlite_locked_by_another_process(tmp_path) -> None:
    path = tmp_path / "state.db"
    store = sqlite_store(path)
    await store.put("things", "k", b"1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for name in ("put", "add", "take", "swap", "delete", "append"):
            async with asyncio.timeout(10):
                with pytest.raises(StoreError):
                    await QUESTIONS[name](store)
        assert await store.get("things", "k") == b"1", "readers go on"
        other.execute("ROLLBACK")
    assert await store.swap("things", "k", b"1", b"2")
    assert await store.append("events", b"1") == 1
    await store.close()


async def test_sqlite_corrupt_and_restored(tmp_path) -> None:
    path = tmp_path / "state.db"
    store = sqlite_store(path, "5s")
    await store.put("things", "k", b"1")
    await store.close()
    good = path.read_bytes()
    path.write_bytes(b"nothing of SQLite's" * 1000)
    store = sqlite_store(path, "5s")
    await faults(store)
    path.write_bytes(good)
    assert await store.get("things", "k") == b"1"
    await store.close()


class Checker:
    """A Check server's part of it, on a real clock with a short `max_age`."""

    def __init__(self, server: RedisServer, snapshot=None, max_age: str = "1s") -> None:
        settings = RevocationSettings(redis={"url": server.url, "timeout": "300ms"}, snapshot=snapshot, max_age=max_age)
        self.revocations = Revocations(settings, SystemClock())
        self.follower = open_follower(self.revocations, None, SystemClock())
        self.tasks = Tasks()

    async def start(self) -> None:
        await self.follower.first()
        self.follower.start(self.tasks)

    async def stop(self) -> None:
        await self.tasks.close()
        await self.follower.close()

    def knows(self, jti: str) -> bool:
        return self.revocations.token(digest="d", jti=jti, sub="s", kid="k", issued_at=1.0)


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_partition_makes_stale_and_heals(fault: str, server, caplog) -> None:
    caplog.set_level(logging.INFO)
    store = redis_store(server, "2s")
    log = RevocationLog(store, SystemClock())
    await log.revoke("jti", "before", until=FAR, reason="test")
    checker = Checker(server)
    await checker.start()
    assert checker.knows("before")
    assert not checker.revocations.stale
    getattr(server, fault)()
    await eventually(lambda: checker.revocations.stale)
    await eventually(lambda: "routes with effects deny" in caplog.text)
    assert checker.knows("before")
    await (server.start() if fault == "kill" else asyncio.to_thread(server.resume))
    await eventually(lambda: not checker.revocations.stale)
    await log.revoke("jti", "after", until=FAR, reason="test")
    await eventually(lambda: checker.knows("after"))
    await checker.stop()
    await store.close()
    assert "routes with effects are served" in caplog.text


async def test_a_store_that_lost_its_log_takes_nothing_back() -> None:
    server = RedisServer()
    await server.start()
    store = redis_store(server, "2s")
    log = RevocationLog(store, SystemClock())
    for number in range(3):
        await log.revoke("jti", f"old{number}", until=FAR, reason="test")
    checker = Checker(server, max_age="60s")
    await checker.start()
    server.kill()
    await server.start()
    await log.revoke("jti", "new", until=FAR, reason="test")
    await eventually(lambda: checker.knows("new"))
    assert all(checker.knows(f"old{number}") for number in range(3))
    await checker.stop()
    await store.close()
    server.close()


async def test_a_cold_start_without_the_store_uses_the_snapshot(server, tmp_path) -> None:
    path = tmp_path / "revoked.json"
    store = redis_store(server, "2s")
    await RevocationLog(store, SystemClock()).revoke("jti", "j-1", until=FAR, reason="test")
    await store.close()
    first = Checker(server, path, "60s")
    await first.start()
    await first.stop()
    server.kill()
    second = Checker(server, path, "60s")
    await second.start()
    assert second.knows("j-1")
    assert not second.revocations.stale
    await second.stop()
    third = Checker(server, None, "60s")
    await third.start()
    assert not third.knows("j-1")
    assert third.revocations.stale
    await third.stop()
