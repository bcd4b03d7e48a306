from __future__ import annotations

import asyncio
import math

import pytest

from extauthz.clock import ManualClock
from extauthz.errors import EngineFault
from extauthz.model import Allow, Decision, Deny, Reason
from extauthz.policy.cached import CachedEngine
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.settings import CacheSettings

DENY = Deny((Reason("role.denied"),))
FOREVER = 1e9


class FakeEngine:
    """Answers with `answer`, waits for `gate` first where it is set, and counts the questions."""

    def __init__(self) -> None:
        self.revision = "r1"
        self.answer: Decision | Exception = Allow()
        self.gate: asyncio.Event | None = None
        self.asked: list[Query] = []
        self.cancelled = 0
        self.closed = False

    async def evaluate(self, query: Query) -> Evaluation:
        self.asked.append(query)
        revision = self.revision
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return Evaluation(self.answer, revision)

    async def ready(self) -> bool:
        return not self.closed

    async def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, **settings) -> None:
        self.inner = FakeEngine()
        self.clock = ManualClock()
        self.epoch = 0
        self.cap = math.inf
        self.engine = CachedEngine(
            self.inner,
            settings=CacheSettings(**{"ttl": "30s", "deny_ttl": "5s", **settings}),
            clock=self.clock,
            epoch=lambda: self.epoch,
            cap=lambda _: self.cap,
        )

    def query(self, document=b"{}", *, entrypoint="a/b", ttl=60.0, deadline=FOREVER) -> Query:
        return Query(entrypoint, document, ttl, deadline)

    async def hit(self, *arguments, **named) -> bool:
        return (await self.engine.evaluate(self.query(*arguments, **named))).cached


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.engine.close()


async def test_an_equal_question_is_answered_from_memory(world):
    assert not await world.hit()
    evaluation = await world.engine.evaluate(world.query())
    assert evaluation == Evaluation(Allow(), "r1", cached=True)
    assert len(world.inner.asked) == 1
    assert (world.engine.stats.hits, world.engine.stats.misses, world.engine.stats.entries) == (1, 1, 1)


async def test_a_hit_never_suspends(world):
    await world.hit()
    coroutine = world.engine.evaluate(world.query())
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value.cached


async def test_anything_that_the_decision_depends_on_makes_another_entry(world):
    await world.hit()
    assert not await world.hit(b'{"a":1}')
    assert not await world.hit(entrypoint="a/c")
    world.epoch = 1
    assert not await world.hit()
    assert await world.hit()
    world.inner.revision = "r2"
    assert not await world.hit()
    world.epoch = 0
    world.inner.revision = "r1"
    assert await world.hit()


async def test_the_parts_of_a_key_do_not_run_into_each_other(world):
    await world.hit(b"1", entrypoint="a")
    assert not await world.hit(b"", entrypoint="a:1")
    assert not await world.hit(b":1", entrypoint="a")


@pytest.mark.parametrize(
    ("answer", "settings", "cap", "life"),
    [
        (Allow(), {}, math.inf, 30),
        (DENY, {}, math.inf, 5),
        (Allow(ttl=3), {}, math.inf, 3),
        (Allow(ttl=300), {}, math.inf, 30),
        (Deny(DENY.reasons, ttl=2), {}, math.inf, 2),
        (Deny(DENY.reasons, ttl=20), {}, math.inf, 5),
        (Allow(), {}, 1.0, 1),
        (Allow(), {"ttl": "7s"}, math.inf, 7),
    ],
)
async def test_the_shortest_life_counts(answer, settings, cap, life):
    world = World(**settings)
    world.inner.answer = answer
    world.cap = cap
    await world.hit()
    world.clock.advance(life - 0.01)
    assert await world.hit()
    world.clock.advance(0.02)
    assert not await world.hit()
    await world.engine.close()


@pytest.mark.parametrize(
    ("answer", "settings", "cap"),
    [
        (Allow(ttl=0), {}, math.inf),
        (Allow(), {}, 0.0),
        (Allow(), {"ttl": 0}, math.inf),
        (DENY, {"deny_ttl": 0}, math.inf),
    ],
)
async def test_a_life_of_zero_is_not_kept(answer, settings, cap):
    world = World(**settings)
    world.inner.answer = answer
    world.cap = cap
    assert [await world.hit(), await world.hit()] == [False, False]
    assert world.engine.stats.entries == 0
    await world.engine.close()


async def test_each_question_says_how_old_its_answer_may_be(world):
    await world.hit()
    world.clock.advance(10)
    assert await world.hit(ttl=11)
    assert not await world.hit(ttl=9)
    assert await world.hit(ttl=9)


async def test_a_question_that_takes_no_old_answer_asks_the_engine(world):
    await world.hit()
    assert not await world.hit(ttl=0)
    assert len(world.inner.asked) == 2


async def test_an_answer_of_an_unknown_revision_is_not_kept(world):
    world.inner.revision = ""
    assert [await world.hit(), await world.hit()] == [False, False]
    assert world.engine.stats.entries == 0


async def test_a_fault_is_not_kept(world):
    world.inner.answer = EngineFault("engine.unavailable")
    with pytest.raises(EngineFault):
        await world.hit()
    world.inner.answer = Allow()
    assert not await world.hit()
    assert await world.hit()


async def test_a_bug_of_the_engine_is_a_fault(world, caplog):
    world.inner.answer = KeyError("bug")
    with pytest.raises(EngineFault) as caught:
        await world.hit()
    assert caught.value.code == "engine.internal"
    assert "must not" in caplog.text


@pytest.mark.parametrize("what", ["revision", "epoch"])
async def test_what_changed_under_way_is_not_kept(world, what):
    world.inner.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.hit())
        await asyncio.sleep(0.01)
        if what == "epoch":
            world.epoch = 1
        else:
            world.inner.evaluate = None
            world.inner.revision = "r2"
        world.inner.gate.set()
    assert world.engine.stats.entries == (1 if what == "revision" else 0)
    world.inner.evaluate = FakeEngine.evaluate.__get__(world.inner)
    assert not await world.hit()


async def test_equal_questions_under_way_are_asked_once(world):
    world.inner.gate = asyncio.Event()
    running = [asyncio.get_running_loop().create_task(world.hit()) for _ in range(50)]
    await asyncio.sleep(0.01)
    world.inner.gate.set()
    assert await asyncio.gather(*running) == [False] * 50
    assert len(world.inner.asked) == 1
    assert world.engine.stats.shared == 49


async def test_one_that_leaves_does_not_take_the_others_along(world):
    world.inner.gate = asyncio.Event()
    running = [asyncio.get_running_loop().create_task(world.hit()) for _ in range(3)]
    await asyncio.sleep(0.01)
    running[0].cancel()
    await asyncio.sleep(0.01)
    world.inner.gate.set()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [False, False]
    assert (len(world.inner.asked), world.inner.cancelled) == (1, 0)


async def test_the_last_one_that_leaves_ends_the_question(world):
    world.inner.gate = asyncio.Event()
    running = [asyncio.get_running_loop().create_task(world.hit()) for _ in range(3)]
    await asyncio.sleep(0.01)
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert world.inner.cancelled == 1
    world.inner.gate.set()
    assert not await world.hit()


async def test_each_waits_no_longer_than_its_own_deadline(world):
    world.inner.gate = asyncio.Event()
    patient = asyncio.get_running_loop().create_task(world.hit())
    await asyncio.sleep(0.01)
    with pytest.raises(EngineFault) as caught:
        await world.hit(deadline=world.clock.monotonic() + 0.05)
    assert caught.value.code == "engine.deadline"
    world.inner.gate.set()
    assert not await patient
    assert len(world.inner.asked) == 1


async def test_a_hasty_first_question_does_not_cost_a_patient_one_its_answer(world):
    world.inner.gate = asyncio.Event()
    world.inner.answer = EngineFault("engine.deadline")
    hasty = asyncio.get_running_loop().create_task(world.hit(deadline=world.clock.monotonic() + 50))
    await asyncio.sleep(0.01)
    patient = asyncio.get_running_loop().create_task(world.hit())
    await asyncio.sleep(0.01)
    world.inner.gate.set()
    with pytest.raises(EngineFault):
        await hasty
    world.inner.answer = Allow()
    assert not await patient
    assert len(world.inner.asked) == 2


async def test_closing_ends_what_is_under_way_and_the_inner_engine(world):
    world.inner.gate = asyncio.Event()
    running = asyncio.get_running_loop().create_task(world.hit())
    await asyncio.sleep(0.01)
    assert await world.engine.ready()
    await world.engine.close()
    with pytest.raises(EngineFault) as caught:
        await running
    assert caught.value.code == "engine.unavailable"
    assert world.inner.closed
    assert not await world.engine.ready()


async def test_it_is_bounded_and_a_flood_leaves_the_hot_set():
    world = World(max_entries=100)
    for _ in range(3):
        await world.hit(b"hot")
    for number in range(1000):
        await world.hit(b"%d" % number)
    assert await world.hit(b"hot")
    assert world.engine.stats.entries == 100
    assert world.engine.stats.evicted == 901
    await world.engine.close()
