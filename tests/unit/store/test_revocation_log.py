"""The revocation log over a store in memory; the contract suite says that the others do the same."""

from __future__ import annotations

import asyncio
import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.clock import ManualClock
from extauthz.store.memory import MemoryStore
from extauthz.store.revocations import LOG, BadRevocation, Page, Revocation, RevocationLog, parse, parse_page

DIGEST = "a" * 64
NOW = ManualClock().now()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def log(store, clock) -> RevocationLog:
    return RevocationLog(store, clock)


async def test_what_was_revoked_is_read(log) -> None:
    assert await log.read() == Page(0, complete=True, entries=())
    assert await log.revoke("jti", "j-1", until=NOW + 60, reason="sign-out") == 1
    assert await log.revoke("subject", "alice", until=NOW + 60, before=NOW, reason="password changed") == 2
    one, two = (await log.read()).entries
    assert one == Revocation("jti", "j-1", NOW + 60, None, "sign-out", NOW)
    assert two == Revocation("subject", "alice", NOW + 60, NOW, "password changed", NOW)
    assert await log.read(1) == Page(2, complete=True, entries=(two,))
    assert await log.read(2) == Page(2, complete=True, entries=())


async def test_a_snapshot_holds_what_is_in_force_once(log, clock) -> None:
    await log.revoke("jti", "j-1", until=NOW + 1, reason="")
    await log.revoke("key", "k-1", until=NOW + 60, reason="")
    await log.revoke("key", "k-1", until=NOW + 90, reason="")
    await log.revoke("key", "k-1", until=NOW + 70, reason="")
    clock.advance(1)
    page = await log.read()
    assert page.sequence == 4
    assert [(entry.value, entry.until) for entry in page.entries] == [("k-1", NOW + 90)]
    assert len((await log.read(1)).entries) == 3


async def test_a_reader_of_another_log_must_begin_again(log) -> None:
    await log.revoke("jti", "j-1", until=NOW + 60, reason="")
    assert await log.read(2) == Page(1, complete=False, entries=())


async def test_waiting_ends_with_news(log) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = group.create_task(log.read(0, wait=10))
        await asyncio.sleep(0)
        await log.revoke("jti", "j-1", until=NOW + 60, reason="")
    assert [entry.value for entry in waiting.result().entries] == ["j-1"]
    assert (await log.read(1, wait=0.001)).entries == ()


async def test_an_entry_that_is_none_makes_a_page_incomplete(log, store) -> None:
    await log.revoke("jti", "j-1", until=NOW + 60, reason="")
    await store.append(LOG, b"{")
    await store.append(LOG, orjson.dumps({"kind": "jti"}))
    await log.revoke("jti", "j-2", until=NOW + 60, reason="")
    page = await log.read()
    assert (page.sequence, page.complete) == (4, False)
    assert [entry.value for entry in page.entries] == ["j-1", "j-2"]
    assert (await log.read(3)).complete


async def test_a_reason_is_made_one_bounded_line(log) -> None:
    await log.revoke("jti", "j-1", until=NOW + 60, reason="a\nb\x1b" + "x" * 1000)
    (entry,) = (await log.read()).entries
    assert entry.reason == ("a b " + "x" * 1000)[:256]


BAD = [
    {"kind": "other"},
    {"kind": ["jti"]},
    {"kind": None},
    {"value": ""},
    {"value": 1},
    {"value": "x" * 2049},
    {"value": "\ud800"},
    {"kind": "token", "value": "A" * 64},
    {"kind": "token", "value": "a" * 63},
    {"until": None},
    {"until": True},
    {"until": -1},
    {"until": float("nan")},
    {"until": float("inf")},
    {"until": 10**400},
    {"until": 1e12},
    {"at": "0"},
    {"before": 1},
    {"kind": "subject", "before": "1"},
    {"kind": "subject", "before": -1},
    {"reason": None},
    {"reason": "x" * 257},
    {"reason": "a\nb"},
    {"more": 1},
]
GOOD = {"kind": "jti", "value": "j-1", "before": None, "until": 10, "reason": "", "at": 1}


@pytest.mark.parametrize("change", BAD)
def test_what_is_no_entry(change) -> None:
    assert parse(GOOD).plain() == GOOD
    with pytest.raises(BadRevocation):
        parse(GOOD | change)


def test_an_entry_lacks_nothing() -> None:
    for name in GOOD:
        with pytest.raises(BadRevocation):
            parse({key: value for key, value in GOOD.items() if key != name})
    for raw in (None, [], "x", 1):
        with pytest.raises(BadRevocation):
            parse(raw)


async def test_nothing_bad_is_written(log) -> None:
    with pytest.raises(BadRevocation):
        await log.revoke("token", "x", until=NOW, reason="")
    with pytest.raises(BadRevocation):
        await log.revoke("jti", "x", until=NOW, before=NOW, reason="")
    assert (await log.read()).sequence == 0


def test_a_page_is_read_back() -> None:
    page = Page(7, complete=True, entries=(parse(GOOD), parse(GOOD | {"kind": "token", "value": DIGEST})))
    assert parse_page(orjson.dumps(page.plain())) == page
    half = page.plain() | {"entries": [GOOD, {}]}
    assert parse_page(orjson.dumps(half)) == Page(7, complete=False, entries=(parse(GOOD),))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000),
        *(
            orjson.dumps({"sequence": 1, "complete": True, "entries": []} | change)
            for change in (
                {"sequence": -1},
                {"sequence": True},
                {"sequence": 1.0},
                {"complete": 1},
                {"entries": None},
                {"entries": {}},
            )
        ),
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(BadRevocation):
        parse_page(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["jti", "subject"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "sequence"]), inner, max_size=7)
    ),
    max_leaves=12,
)
PAGES = st.fixed_dictionaries(
    {
        "sequence": st.integers(0, 9) | JSON,
        "complete": st.booleans() | JSON,
        "entries": st.lists(JSON, max_size=3) | JSON,
    }
)


@given(st.binary(max_size=60) | PAGES.map(lambda tree: json.dumps(tree).encode()))
def test_any_body_is_a_page_or_refused_by_our_one_error(body: bytes) -> None:
    try:
        page = parse_page(body)
    except BadRevocation:
        return
    assert page.sequence >= 0
    assert all(parse(entry.plain()) == entry for entry in page.entries)


@given(st.fixed_dictionaries({name: st.just(value) | JSON for name, value in GOOD.items()}))
def test_any_entry_is_one_or_refused_by_our_one_error(raw) -> None:
    with contextlib.suppress(BadRevocation):
        assert parse(parse(raw).plain()) == parse(raw)
