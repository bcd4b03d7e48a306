"""The laws of `store.store`, over every implementation; Redis is a real server."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from extauthz.clock import ManualClock
from extauthz.store.memory import MemoryStore
from extauthz.store.opening import open_store
from extauthz.store.revocations import RevocationLog
from extauthz.store.settings import MemoryStoreSettings, RedisStoreSettings, SqliteStoreSettings
from extauthz.store.store import StoreError
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.store.store import Store

KINDS = ["memory", "sqlite", "redis"]
SHARED = ["sqlite", "redis"]


class Place:
    """Where stores of one kind meet; each `open` is another process's or replica's view of it."""

    def __init__(self, kind: str, tmp_path) -> None:
        self.kind = kind
        self.clock = ManualClock()
        self._path = tmp_path / "store.db"
        self._server = RedisServer() if kind == "redis" else None
        self._opened: list[Store] = []

    async def start(self) -> None:
        if self._server is not None:
            await self._server.start()

    def open(self) -> Store:
        match self.kind:
            case "memory":
                settings = MemoryStoreSettings(kind="memory")
            case "sqlite":
                settings = SqliteStoreSettings(kind="sqlite", path=self._path, timeout="10s")
            case _:
                settings = RedisStoreSettings(kind="redis", url=self._server.url, timeout="10s")
        store = open_store(settings, self.clock)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()
        if self._server is not None:
            self._server.close()


@pytest.fixture(params=KINDS)
async def place(request, tmp_path) -> AsyncIterator[Place]:
    made = Place(request.param, tmp_path)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def store(place) -> Store:
    return place.open()


async def test_a_value_comes_back_as_it_was(store) -> None:
    assert await store.get("things", "k") is None
    await store.put("things", "k", b"\x00\xff")
    assert await store.get("things", "k") == b"\x00\xff"
    assert await store.get("others", "k") is None
    await store.put("things", "k", b"")
    assert await store.get("things", "k") == b""
    assert await store.delete("things", "k")
    assert not await store.delete("things", "k")
    assert await store.get("things", "k") is None


async def test_add_only_where_nothing_stands(store, place) -> None:
    assert await store.add("things", "k", b"1", expires=place.clock.now() + 10)
    assert not await store.add("things", "k", b"2")
    assert await store.get("things", "k") == b"1"
    place.clock.advance(10)
    assert await store.add("things", "k", b"3")
    assert await store.get("things", "k") == b"3"
    place.clock.advance(1000)
    assert await store.get("things", "k") == b"3"


async def test_take_gives_a_value_once(store, place) -> None:
    await store.put("things", "k", b"1")
    assert await store.take("things", "k") == b"1"
    assert await store.take("things", "k") is None
    await store.put("things", "k", b"1", expires=place.clock.now() + 1)
    place.clock.advance(1)
    assert await store.take("things", "k") is None


async def test_swap_wants_what_stands_there(store, place) -> None:
    assert not await store.swap("things", "k", b"0", b"1")
    assert await store.swap("things", "k", None, b"1")
    assert not await store.swap("things", "k", None, b"2")
    assert not await store.swap("things", "k", b"", b"2")
    assert await store.swap("things", "k", b"1", b"2", expires=place.clock.now() + 5)
    assert await store.get("things", "k") == b"2"
    place.clock.advance(5)
    assert not await store.swap("things", "k", b"2", b"3")
    assert await store.swap("things", "k", None, b"3")


async def test_an_end_may_be_moved_and_lifted(store, place) -> None:
    now = place.clock.now()
    await store.put("things", "k", b"1", expires=now + 1)
    await store.put("things", "k", b"2", expires=now + 100)
    await store.put("things", "l", b"1", expires=now + 1)
    await store.put("things", "l", b"2")
    place.clock.advance(50)
    await store.put("things", "m", b"sweeps")
    assert await store.scan("things") == [("k", b"2"), ("l", b"2"), ("m", b"sweeps")]
    place.clock.advance(50)
    assert await store.scan("things") == [("l", b"2"), ("m", b"sweeps")]


async def test_scan_gives_keys_in_order(store, place) -> None:
    keys = ["a", "a/1", "a/2", "a/10", "b", "", "ä", "\U0001f600", "a:b", "a*", "a%", "a_"]
    for key in keys:
        await store.put("things", key, key.encode())
    await store.put("things", "a/0", b"ends", expires=place.clock.now() + 1)
    await store.put("others", "a/3", b"")
    place.clock.advance(1)
    assert await store.scan("things") == [(key, key.encode()) for key in sorted(keys)]
    assert [key for key, _ in await store.scan("things", "a/")] == ["a/1", "a/10", "a/2"]
    assert [key for key, _ in await store.scan("things", "a/", 2)] == ["a/1", "a/10"]
    assert await store.scan("things", "c") == []


async def test_a_limit_counts_what_is_there(store, place) -> None:
    for number in range(5):
        await store.put("things", f"a{number}", b"", expires=place.clock.now() + 1)
        await store.append("events", b"old", expires=place.clock.now() + 1)
    place.clock.advance(1)
    for number in range(5):
        await store.put("things", f"b{number}", b"")
        await store.append("events", b"new")
    assert [key for key, _ in await store.scan("things", "", 3)] == ["b0", "b1", "b2"]
    assert await store.read("events", 0, 3) == [(6, b"new"), (7, b"new"), (8, b"new")]


async def test_a_log_counts_from_one(store, place) -> None:
    assert await store.last("events") == 0
    assert list(await store.read("events")) == []
    assert [await store.append("events", b"%d" % n) for n in range(3)] == [1, 2, 3]
    assert await store.append("others", b"x") == 1
    assert [tuple(row) for row in await store.read("events", 1)] == [(2, b"1"), (3, b"2")]
    assert [tuple(row) for row in await store.read("events", 0, 2)] == [(1, b"0"), (2, b"1")]
    assert await store.last("events") == 3


async def test_what_has_ended_leaves_a_log_but_not_its_count(store, place) -> None:
    await store.append("events", b"1", expires=place.clock.now() + 5)
    await store.append("events", b"2")
    await store.append("events", b"3", expires=place.clock.now() + 1)
    place.clock.advance(1)
    assert [tuple(row) for row in await store.read("events")] == [(1, b"1"), (2, b"2")]
    place.clock.advance(4)
    assert [tuple(row) for row in await store.read("events")] == [(2, b"2")]
    assert await store.last("events") == 3
    assert not await store.wait("events", 2, 0)
    assert await store.append("events", b"4") == 4


async def test_wait_wakes_on_an_append(store) -> None:
    assert not await store.wait("events", 0, 0)
    assert not await store.wait("events", 0, 0.01)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = [group.create_task(store.wait("events", 0, 20)) for _ in range(3)]
        await asyncio.sleep(0.05)
        await store.append("events", b"1")
    assert [task.result() for task in waiting] == [True, True, True]
    assert await store.wait("events", 0, 20)


@pytest.mark.parametrize("place", SHARED, indirect=True)
async def test_wait_wakes_on_another_replicas_append(place) -> None:
    here, there = place.open(), place.open()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(here.wait("events", 0, 20))
        await asyncio.sleep(0.2)
        await there.append("events", b"1")
    assert waiting.result()
    assert await here.read("events") == await there.read("events")


@pytest.mark.parametrize("place", SHARED, indirect=True)
async def test_of_two_replicas_one_wins(place) -> None:
    stores = [place.open(), place.open(), place.open()]
    for round_ in range(20):
        key = f"k{round_}"
        added = await asyncio.gather(*(store.add("things", key, b"%d" % n) for n, store in enumerate(stores)))
        assert added.count(True) == 1
        stands = await stores[0].get("things", key)
        assert stands == b"%d" % added.index(True)
        swapped = await asyncio.gather(*(store.swap("things", key, stands, b"new") for store in stores))
        assert swapped.count(True) == 1
        taken = await asyncio.gather(*(store.take("things", key) for store in stores))
        assert sorted(map(bool, taken)) == [False, False, True]


@pytest.mark.parametrize("place", SHARED, indirect=True)
async def test_sequence_numbers_are_given_once(place) -> None:
    stores = [place.open(), place.open()]
    numbers = await asyncio.gather(*(stores[n % 2].append("events", b"") for n in range(100)))
    assert sorted(numbers) == list(range(1, 101))


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        *(("Things", "k", b""), ("", "k", b""), ("a:b", "k", b"")),
        *(("things", "ä" * 257, b""), ("things", "\ud800", b""), ("things", "k", bytes(1024 * 1024 + 1))),
    ],
)
async def test_what_no_store_takes(store, table: str, key: str, value: bytes) -> None:
    with pytest.raises(StoreError):
        await store.put(table, key, value)
    with pytest.raises(StoreError):
        await store.add(table, key, value)
    with pytest.raises(StoreError):
        await store.put("things", "k", b"", expires=float("inf"))


async def test_the_longest_that_every_store_takes(store) -> None:
    value = bytes(1024 * 1024)
    await store.put("things", "k" * 512, value)
    assert await store.get("things", "k" * 512) == value
    assert await store.append("events", value) == 1


async def test_a_closed_store_answers_nothing(store) -> None:
    await store.put("things", "k", b"")
    await store.close()
    await store.close()
    for question in (store.get("things", "k"), store.append("events", b""), store.wait("events", 0, 1)):
        with pytest.raises(StoreError):
            await question


async def test_the_revocation_log_over_every_store(place) -> None:
    writer = place.open()
    reader = writer if place.kind == "memory" else place.open()
    told, read = RevocationLog(writer, place.clock), RevocationLog(reader, place.clock)
    until = place.clock.now() + 60
    assert await told.revoke("jti", "j-1", until=until, reason="a") == 1
    page = await read.read()
    assert (page.sequence, page.complete, [entry.value for entry in page.entries]) == (1, True, ["j-1"])
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(read.read(1, wait=20))
        await asyncio.sleep(0.05)
        await told.revoke("subject", "alice", until=until, before=until - 60, reason="b")
    assert [entry.value for entry in waiting.result().entries] == ["alice"]
    place.clock.advance(60)
    assert (await read.read()).entries == ()
    assert (await read.read()).sequence == 2
    assert not (await read.read(3)).complete


@pytest.mark.parametrize("place", SHARED, indirect=True)
@pytest.mark.parametrize("seed", range(4))
async def test_any_run_of_steps_ends_as_in_memory(seed: int, place) -> None:
    rng = random.Random(seed)  # noqa: S311 - a run that can be repeated
    model, store = MemoryStore(place.clock), place.open()
    keys, values = ["", "a", "a/b", "b", "ä"], [b"", b"1", b"2", b"\xff\x00"]
    for _ in range(250):
        key, value = rng.choice(keys), rng.choice(values)
        ends = rng.choice([None, place.clock.now() + rng.choice([-1, 0, 1, 5])])
        step, arguments, options = rng.choice(
            [
                *(("get", ("things", key), {}), ("take", ("things", key), {}), ("delete", ("things", key), {})),
                *(
                    ("scan", ("things", key), {}),
                    ("read", ("events", rng.randint(0, 30)), {}),
                    ("last", ("events",), {}),
                ),
                *(
                    ("put", ("things", key, value), {"expires": ends}),
                    ("add", ("things", key, value), {"expires": ends}),
                ),
                ("swap", ("things", key, rng.choice([None, *values]), value), {"expires": ends}),
                ("append", ("events", value), {"expires": ends}),
                ("wait", ("events", rng.randint(0, 30), 0), {}),
                ("pass", (), {}),
            ]
        )
        if step == "pass":
            place.clock.advance(rng.choice([0.5, 1, 3]))
            continue
        expected, found = [await getattr(one, step)(*arguments, **options) for one in (model, store)]
        if isinstance(expected, list):
            expected, found = [tuple(row) for row in expected], [tuple(row) for row in found]
        assert found == expected, (step, arguments, options)
