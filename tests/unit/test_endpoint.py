"""Which outcomes are an endpoint's failures, when it is asked again, and the bulkhead before it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.breaker import State
from extauthz.bulkhead import Bulkhead, Full
from extauthz.clock import ManualClock
from extauthz.endpoint import BreakerSettings, Endpoint, Endpoints


def endpoint(timeout: float = 1.0, draw: float = 0.5, **settings: object) -> tuple[Endpoint, ManualClock]:
    clock = ManualClock()
    chosen = BreakerSettings(**{"failures": 2, **settings})  # type: ignore[arg-type]  # units are texts
    return Endpoint("it", chosen, clock, timeout=timeout, draw=lambda: draw), clock


def late(made: Endpoint, waited: float, times: int = 2) -> State:
    for _ in range(times):
        made.late(made.breaker.admit(0.0), waited)
    return made.breaker.state


def usual(made: Endpoint, seconds: float) -> None:
    for _ in range(50):
        made.answered(made.breaker.admit(0.0), seconds)


@pytest.mark.parametrize(
    ("usually", "waited", "state"),
    [
        (0.001, 0.2, State.OPEN),  # 200 times its usual time: it hangs
        (0.001, 0.04, State.CLOSED),  # below 50 ms nothing is certain
        (0.1, 0.2, State.CLOSED),  # it needs 100 ms as a rule: 200 ms were too few
        (0.1, 0.85, State.OPEN),
        (0.5, 0.9, State.CLOSED),
        (0.5, 1.0, State.OPEN),  # it had all of its time
        (None, 0.5, State.CLOSED),  # nobody knows what is usual
        (None, 1.0, State.OPEN),
    ],
)
def test_a_timeout_is_the_endpoints_fault_only_when_it_had_enough_time(
    usually: float | None, waited: float, state: State
) -> None:
    made, _ = endpoint()
    if usually is not None:
        usual(made, usually)
    assert late(made, waited) is state


@given(st.floats(0.001, 0.5), st.lists(st.floats(0, 1), max_size=50))
def test_callers_in_haste_never_open_it(usually: float, hasty: list[float]) -> None:
    """However many wait for less than the endpoint usually needs."""
    made, _ = endpoint(failures=1)
    usual(made, usually)
    for part in hasty:
        made.late(made.breaker.admit(0.0), part * usually)
    assert made.breaker.state is State.CLOSED


def test_it_is_asked_again_with_full_jitter_within_the_time_and_only_while_closed() -> None:
    made, _ = endpoint(retries=2, draw=0.5)
    assert made.again(1, 1.0) == pytest.approx(0.005)
    assert made.again(2, 1.0) == pytest.approx(0.01)
    assert made.again(3, 1.0) is None
    assert made.again(1, 0.005) is None
    for _ in range(2):
        made.failed(made.breaker.admit(0.0))
    assert made.again(1, 1.0) is None


def test_an_open_breaker_refuses_until_its_pause_is_over() -> None:
    made, clock = endpoint(failures=1, pause="1s")
    made.failed(made.breaker.admit(0.0))
    assert made.refuses()
    clock.advance(1.0)
    assert not made.refuses()


def test_endpoints_have_names_of_their_own_and_say_which_are_open() -> None:
    moved: list[tuple[str, State]] = []
    known = Endpoints(ManualClock(), lambda name, state: moved.append((name, state)))
    settings = BreakerSettings(failures=1)
    one = known.make("accounts", 1.0, settings, "attributes")
    two = known.make("accounts", 1.0, settings, "introspection")
    two.failed(two.breaker.admit(0.0))
    assert one.name == "accounts"
    assert known.states() == {"accounts": State.CLOSED, "introspection:accounts": State.OPEN}
    assert known.open() == ["introspection:accounts"]
    assert moved == [("introspection:accounts", State.OPEN)]


async def test_a_bulkhead_bounds_who_is_inside_and_who_waits() -> None:
    bulkhead = Bulkhead(2, 3)
    go, inside, most = asyncio.Event(), 0, 0

    async def call() -> str:
        nonlocal inside, most
        try:
            async with bulkhead:
                inside += 1
                most = max(most, inside)
                await go.wait()
                inside -= 1
        except Full:
            return "full"
        return "done"

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(call()) for _ in range(9)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (inside, bulkhead.waiting) == (2, 3)
        calls[2].cancel()  # it waited: its place in the queue is free again
        await asyncio.sleep(0)
        calls.append(group.create_task(call()))
        await asyncio.sleep(0)
        assert bulkhead.waiting == 3
        go.set()
    results = ["cancelled" if one.cancelled() else one.result() for one in calls]
    assert sorted(results) == ["cancelled", *["done"] * 5, *["full"] * 4]
    assert (most, bulkhead.waiting) == (2, 0)


async def test_a_bulkhead_without_a_queue_refuses_at_once() -> None:
    bulkhead = Bulkhead(1, 0)
    async with bulkhead:
        with pytest.raises(Full):
            await bulkhead.__aenter__()
    async with bulkhead:
        pass
