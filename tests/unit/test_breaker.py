"""The circuit breaker: its states, its pauses, one probe at a time, and what never opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.breaker import REFUSED, Breaker, State

if TYPE_CHECKING:
    from collections.abc import Callable


def breaker(
    failures: int = 3, pause: float = 1.0, longest: float = 4.0, draw: Callable[[], float] = lambda: 1.0
) -> tuple[Breaker, list[State]]:
    seen: list[State] = []
    return Breaker(failures=failures, pause=pause, longest=longest, random=draw, moved=seen.append), seen


def fail(made: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        made.bad(made.admit(now), now)


def test_failures_in_a_row_open_it_and_one_probe_closes_it() -> None:
    made, seen = breaker()
    fail(made, 0.0, 2)
    made.good(made.admit(0.0))  # ends the row
    fail(made, 0.0, 2)
    assert made.state is State.CLOSED
    fail(made, 0.0)
    assert made.state is State.OPEN
    assert made.admit(0.99) == REFUSED
    assert made.refuses(0.99)
    probe = made.admit(1.0)
    assert probe != REFUSED
    assert made.refuses(1.0)
    assert made.admit(50.0) == REFUSED  # one at a time, however long it takes
    made.good(probe)
    assert not made.refuses(1.0)
    assert seen == [State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest_and_success_forgets_it() -> None:
    made, _ = breaker(failures=1)
    now = 0.0
    fail(made, now)
    for pause in (1.0, 2.0, 4.0, 4.0):
        assert made.admit(now + pause - 0.01) == REFUSED
        now += pause
        fail(made, now)
    made.good(made.admit(now + 4.0))
    fail(made, now)
    assert made.refuses(now + 0.99)
    assert not made.refuses(now + 1.0)


@given(st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_of_it_and_all_of_it(drawn: float) -> None:
    made, _ = breaker(failures=1, draw=lambda: drawn)
    fail(made, 0.0)
    assert made.refuses(0.499)
    assert not made.refuses(1.0)


def test_a_probe_that_tells_nothing_leaves_the_next_call_to_be_it() -> None:
    made, seen = breaker(failures=1)
    fail(made, 0.0)
    made.untold(made.admit(1.0))
    assert made.state is State.HALF_OPEN
    made.good(made.admit(1.0))
    assert seen == [State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_call_from_before_changes_nothing() -> None:
    """Neither a late success closes an open breaker, nor late failures open one that has closed again."""
    made, seen = breaker(failures=1)
    early = [made.admit(0.0) for _ in range(5)]
    made.bad(early[0], 0.0)
    made.good(early[1])
    made.untold(early[2])
    assert made.state is State.OPEN
    probe = made.admit(1.0)
    made.good(early[3])
    made.untold(early[3])
    assert made.admit(1.0) == REFUSED  # the probe's place is the probe's
    made.good(probe)
    made.bad(early[4], 1.0)
    assert made.state is State.CLOSED
    assert len(seen) == 3


CALLS = st.lists(st.tuples(st.sampled_from(["good", "bad", "untold", "wait"]), st.floats(0, 3)), max_size=60)


@given(CALLS, st.integers(1, 4))
def test_whatever_happens_no_two_probes_are_out_and_it_can_always_close_again(
    calls: list[tuple[str, float]], failures: int
) -> None:
    made, _ = breaker(failures=failures)
    now, out, rows = 0.0, [], 0
    for what, seconds in calls:
        now += seconds
        ticket = made.admit(now)
        if made.state is State.HALF_OPEN and ticket != REFUSED:
            assert made.admit(now) == REFUSED
        if ticket == REFUSED:
            continue
        if what == "wait":
            out.append(ticket)
            continue
        closed = made.state is State.CLOSED
        before = made.state
        getattr(made, what)(ticket, *([now] if what == "bad" else []))
        rows = (rows + 1 if what == "bad" else 0 if what == "good" else rows) if closed else 0
        if before is State.CLOSED and made.state is State.OPEN:
            assert rows >= failures
    for ticket in out:
        made.untold(ticket)
    ticket = made.admit(now + 100)
    assert ticket != REFUSED
    made.good(ticket)
    assert made.state is State.CLOSED


@pytest.mark.parametrize("outcome", ["good", "untold"])
def test_what_is_no_failure_never_opens_it(outcome: str) -> None:
    made, seen = breaker(failures=1)
    for _ in range(100):
        getattr(made, outcome)(made.admit(0.0))
    assert (made.state, seen) == (State.CLOSED, [])
