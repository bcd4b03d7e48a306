"""The laws of `judgement.queue`, over every implementation; Redis is a real server."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.clock import ManualClock
from extauthz.judgement.opening import open_queue
from extauthz.judgement.quarantine import OPERATOR, STRIKES, Key, Quarantine, enough
from extauthz.judgement.queue import Settlement, Strike, Waiting
from extauthz.judgement.settings import JudgementSettings
from extauthz.store.store import StoreError
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.judgement.queue import Claim, Queue

KINDS = ["sqlite", "redis"]
KEY = Key("token", "00112233445566aa", "", "transfers")


class Place:
    """Where queues of one kind meet; each `open` is another worker's view of it."""

    def __init__(self, kind: str, tmp_path) -> None:
        self.kind = kind
        self.clock = ManualClock()
        self._path = tmp_path / "judgement.db"
        self._server = RedisServer() if kind == "redis" else None
        self._opened: list[Queue] = []

    async def start(self) -> None:
        if self._server is not None:
            await self._server.start()

    def open(self, **settings: Any) -> Queue:
        if self._server is None:
            where = {"kind": "sqlite", "path": str(self._path), "timeout": "10s"}
        else:
            where = {"kind": "redis", "url": self._server.url, "timeout": "10s"}
        queue = open_queue(
            JudgementSettings(queue=where, **{"lease": "1s", "timeout": "500ms", **settings}), self.clock
        )
        self._opened.append(queue)
        return queue

    async def lapse(self) -> None:
        """Leases end: by our clock, and by the server's own where it keeps them."""
        self.clock.advance(1.1)
        if self.kind == "redis":
            await asyncio.sleep(1.1)

    async def close(self) -> None:
        for queue in self._opened:
            await queue.close()
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


def waiting(*names: str, at: float = 0.0) -> list[Waiting]:
    return [Waiting(name, b"\x00body of " + name.encode(), at) for name in names]


async def put(queue: Queue, place: Place, *names: str) -> list[Claim]:
    """Puts and claims at once, in order."""
    assert await queue.put(waiting(*names, at=place.clock.now())) == len(names)
    claims = list(await queue.claim(100))
    assert [claim.body for claim in claims] == [b"\x00body of " + name.encode() for name in names]
    return claims


def violation(claim: Claim, place: Place, name: str, **change: Any) -> Settlement:
    strike = Strike(KEY, name, place.clock.now(), strikes=2, window=60.0, duration=300.0)
    return Settlement(claim.ticket, b"denied", replace(strike, **change))


async def test_what_was_put_is_claimed_once(place) -> None:
    here, there = place.open(), place.open()
    await here.put(waiting("a", "b", "c", at=place.clock.now()))
    first, second = await here.claim(2), await there.claim(5)
    assert [claim.body[9:] for claim in (*first, *second)] == [b"a", b"b", b"c"]
    assert len({claim.ticket for claim in (*first, *second)}) == 3
    assert await here.claim(5) == []
    assert all(claim.begun == 1 and claim.verdict == b"" for claim in first)
    assert [claim.accepted for claim in first] == [place.clock.now()] * 2


async def test_claims_of_many_at_once_never_meet(place) -> None:
    queues = [place.open() for _ in range(4)]
    names = [f"n{number}" for number in range(200)]
    assert await queues[0].put(waiting(*names, at=place.clock.now())) == 200
    found: list[str] = []

    async def take(queue: Queue) -> None:
        while claims := await queue.claim(7):
            found.extend(claim.body.decode()[9:] for claim in claims)

    await asyncio.gather(*map(take, queues))
    assert sorted(found) == sorted(names)


async def test_no_more_than_may_wait(place) -> None:
    queue = place.open(max_waiting=3)
    assert await queue.put(waiting("a", "b", at=place.clock.now())) == 2
    assert await queue.put(waiting("c", "d", at=place.clock.now())) == 1
    assert await queue.put(waiting("e", at=place.clock.now())) == 0
    claims = await queue.claim(10)
    assert len(claims) == 3
    assert await queue.put(waiting("f", at=place.clock.now())) == 0  # claimed ones still wait
    await queue.settle([Settlement(claims[0].ticket, b"allowed")])
    assert await queue.put(waiting("f", at=place.clock.now())) == 1


async def test_a_lease_that_ends_is_claimed_by_another(place) -> None:
    here, there = place.open(), place.open()
    claims = await put(here, place, "a")
    assert await there.claim(1) == []
    await place.lapse()
    again = await there.claim(1)
    assert [(claim.ticket, claim.begun) for claim in again] == [(claims[0].ticket, 2)]


async def test_only_the_first_verdict_has_an_effect(place) -> None:
    here, there = place.open(), place.open()
    (mine,) = await put(here, place, "a")
    await place.lapse()
    (theirs,) = await there.claim(1)
    assert [settled.first for settled in await there.settle([Settlement(theirs.ticket, b"allowed")])] == [True]
    late = await here.settle([violation(mine, place, "a", strikes=1)])
    assert [(settled.first, settled.quarantine) for settled in late] == [(False, None)]
    await there.told([theirs.ticket])
    assert [settled.first for settled in await here.settle([violation(mine, place, "a", strikes=1)])] == [False]
    assert [verdict for _, verdict in await here.ledger()] == [b"allowed"]
    assert await here.quarantines() == []


async def test_what_was_judged_and_not_told_is_claimed_with_its_verdict(place) -> None:
    here, there = place.open(), place.open()
    (claim,) = await put(here, place, "a")
    await here.settle([Settlement(claim.ticket, b"the verdict")])
    assert await here.ledger() == []
    assert (await there.state()).waiting == 0
    await place.lapse()
    (again,) = await there.claim(5)
    assert (again.ticket, again.verdict, again.body) == (claim.ticket, b"the verdict", claim.body)
    await there.told([again.ticket])
    await place.lapse()
    assert await here.claim(5) == []
    assert [verdict for _, verdict in await here.ledger()] == [b"the verdict"]


async def test_what_is_put_back_is_claimed_again_after_its_delay_and_was_not_begun(place) -> None:
    queue = place.open()
    (claim,) = await put(queue, place, "a")
    await queue.put_back([claim.ticket], 0.0)
    (claim,) = await queue.claim(1)
    assert claim.begun == 1
    await queue.put_back([claim.ticket], 0.9)
    assert await queue.claim(1) == []
    await place.lapse()
    assert len(await queue.claim(1)) == 1


async def test_the_state_counts_what_waits_and_says_since_when(place) -> None:
    queue = place.open()
    assert ((await queue.state()).waiting, (await queue.state()).oldest) == (0, None)
    started = place.clock.now()
    await queue.put(waiting("a", at=started))
    place.clock.advance(0.5)
    await queue.put(waiting("b", at=place.clock.now()))
    state = await queue.state()
    assert (state.waiting, state.oldest) == (2, started)
    claims = await queue.claim(5)
    await queue.settle([Settlement(claims[0].ticket, b"allowed")])
    state = await queue.state()
    assert (state.waiting, state.oldest) == (1, started + 0.5)


async def test_what_is_withdrawn_is_not_judged_unless_it_was(place) -> None:
    queue = place.open()
    (claim,) = await put(queue, place, "judged")
    await queue.settle([Settlement(claim.ticket, b"allowed")])
    await queue.put(waiting("a", "b", at=place.clock.now()))
    await queue.withdraw(["a", "judged", "unknown"])
    assert (await queue.state()).waiting == 1
    assert [claim.body[9:] for claim in await queue.claim(5)] == [b"b"]
    await queue.told([claim.ticket])
    assert len(await queue.ledger()) == 1


async def test_an_id_is_put_once(place) -> None:
    queue = place.open()
    assert await queue.put(waiting("a", "a", at=place.clock.now())) == 2
    assert await queue.put(waiting("a", at=place.clock.now())) == 1
    assert len(await queue.claim(5)) == 1
    assert (await queue.state()).waiting == 1


async def test_strikes_become_a_quarantine_that_all_see(place) -> None:
    here, there = place.open(), place.open()
    claims = await put(here, place, "a", "b", "c")
    before = (await there.state()).changes
    first = await here.settle([violation(claims[0], place, "a")])
    assert first[0].quarantine is None
    second, third = await there.settle([violation(claims[1], place, "b"), violation(claims[2], place, "c")])
    made = second.quarantine
    assert made is not None
    assert (made.key, made.by, made.decision_id) == (KEY, STRIKES, "b")
    assert made.until == place.clock.now() + 300
    assert third.first
    assert third.quarantine is None  # accepted before the quarantine ends: it adds nothing
    assert await here.quarantines() == [made]
    assert (await here.state()).changes > before
    place.clock.advance(301)
    assert await here.quarantines() == []


@pytest.mark.parametrize("gap", [59.0, 60.0])
async def test_the_window_slides_also_when_judgements_come_out_of_order(place, gap) -> None:
    queue = place.open()
    claims = await put(queue, place, "a", "b")
    now = place.clock.now()
    await queue.settle([violation(claims[0], place, "later", at=now)])
    (settled,) = await queue.settle([violation(claims[1], place, "earlier", at=now - gap)])
    assert (settled.quarantine is not None) is (gap < 60)


async def test_released_is_released_and_what_came_before_counts_no_more(place) -> None:
    here, there = place.open(), place.open()
    claims = await put(here, place, "a", "b", "c")
    (settled,) = await here.settle([violation(claims[0], place, "a", strikes=1)])
    assert settled.quarantine is not None
    accepted = place.clock.now()
    place.clock.advance(0.5)
    changes = (await here.state()).changes
    assert (await there.release(KEY)) == settled.quarantine
    assert await there.release(KEY) is None
    assert await here.quarantines() == []
    assert (await here.state()).changes > changes
    (old,) = await here.settle([violation(claims[1], place, "b", strikes=1, at=accepted)])
    assert old.quarantine is None
    place.clock.advance(0.4)
    (new,) = await here.settle([violation(claims[2], place, "c", strikes=1)])
    assert new.quarantine is not None


async def test_an_operator_confines(place) -> None:
    here, there = place.open(), place.open()
    made = Quarantine(Key("tenant", "acme"), place.clock.now(), place.clock.now() + 60, OPERATOR)
    await here.confine(made)
    assert await there.quarantines() == [made]
    longer = replace(made, until=made.until + 60)
    await there.confine(longer)
    assert await here.quarantines() == [longer]


async def test_a_closed_queue_answers_nothing(place) -> None:
    queue = place.open()
    await queue.state()
    await queue.close()
    with pytest.raises(StoreError):
        await queue.claim(1)


async def test_whoever_reads_the_ledger_on_misses_nothing_that_is_told_late(place) -> None:
    queue = place.open()
    first, second = await put(queue, place, "a", "b")
    await queue.settle([Settlement(first.ticket, b"first"), Settlement(second.ticket, b"second")])
    await queue.told([second.ticket])
    ((read, verdict),) = await queue.ledger()
    assert verdict == b"second"
    await queue.told([first.ticket, second.ticket])
    assert [verdict for _, verdict in await queue.ledger(read)] == [b"first"]


async def test_what_was_told_is_forgotten_after_a_while(tmp_path) -> None:
    place = Place("sqlite", tmp_path)
    queue = place.open(keep="10s")
    (claim,) = await put(queue, place, "a")
    await queue.settle([Settlement(claim.ticket, b"allowed")])
    await queue.told([claim.ticket])
    place.clock.advance(11)
    (claim,) = await put(queue, place, "b")
    await queue.settle([Settlement(claim.ticket, b"denied")])
    await queue.told([claim.ticket])
    assert [verdict for _, verdict in await queue.ledger()] == [b"denied"]
    await place.close()


async def test_strikes_against_a_model(place) -> None:
    """Violations in any order: the same quarantines as a plain reading of the rule."""
    queue = place.open()
    drawn = random.Random(8)  # noqa: S311 - repeatable
    names = [f"v{number}" for number in range(60)]
    claims = await put(queue, place, *names)
    start = place.clock.now()
    seen: list[float] = []
    for claim, name in zip(claims, names, strict=True):
        at = start + drawn.randrange(0, 4000) / 2
        seen.append(at)
        expected = enough(seen, at, 4, 60.0)
        assert expected == any(
            sum(low <= other < low + 60 for other in seen) >= 4 for low in seen if low <= at < low + 60
        )
        (settled,) = await queue.settle([violation(claim, place, name, at=at, strikes=4, duration=0.0)])
        assert (settled.quarantine is not None) is expected
        if expected:
            seen.clear()
            await queue.confine(Quarantine(KEY, start - 9, start - 9, OPERATOR))  # forgets since when strikes count
