"""Denial rates in a sliding window: what counts, what leaves, and when the bound is exceeded."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from extauthz.policy.rollout_settings import RollbackSettings
from extauthz.policy.rollout_window import SLOTS, Window

SETTINGS = RollbackSettings(max_denial_increase=10, min_decisions=10, window="60s")


def fill(window: Window, now: float, *, live: int, candidate: int, of: int) -> None:
    for step in range(of):
        window.add(now, live_denied=step < live, candidate_denied=step < candidate)


def test_too_few_decisions_say_nothing() -> None:
    window = Window(SETTINGS)
    fill(window, 0.0, live=0, candidate=9, of=9)
    assert not window.exceeded(0.0)
    fill(window, 0.0, live=0, candidate=1, of=1)
    assert window.exceeded(0.0)


def test_the_bound_itself_is_allowed() -> None:
    window = Window(SETTINGS)
    fill(window, 0.0, live=1, candidate=2, of=10)
    assert window.rates(0.0).increase == 10.0
    assert not window.exceeded(0.0)
    fill(window, 0.0, live=0, candidate=1, of=1)
    assert window.exceeded(0.0)


def test_a_candidate_that_denies_less_never_exceeds() -> None:
    window = Window(SETTINGS)
    fill(window, 0.0, live=100, candidate=0, of=100)
    assert window.rates(0.0).increase == -100.0
    assert not window.exceeded(0.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window(SETTINGS)
    fill(window, 0.0, live=0, candidate=20, of=20)
    assert window.exceeded(57.9)
    assert not window.exceeded(60.1)
    assert window.rates(60.1).compared == 0
    fill(window, 1e6, live=0, candidate=1, of=1)
    assert window.rates(1e6).compared == 1


def test_an_empty_window_has_no_rates() -> None:
    window = Window(SETTINGS)
    fill(window, 3.0, live=0, candidate=20, of=20)
    window.clear()
    assert window.rates(3.0).compared == 0
    assert window.rates(3.0).increase == 0.0


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.booleans()), max_size=200))
def test_it_counts_as_a_plain_list_would(steps: list[tuple[float, bool, bool]]) -> None:
    """Against a list of everything, cut at the granularity of the slots."""
    window, now = Window(SETTINGS), 0.0
    kept: deque[tuple[int, bool, bool]] = deque()
    for step, live, candidate in steps:
        now += step
        window.add(now, live_denied=live, candidate_denied=candidate)
        kept.append((int(now / SETTINGS.window * SLOTS), live, candidate))
    newest = int(now / SETTINGS.window * SLOTS)
    alive = [entry for entry in kept if entry[0] > newest - SLOTS]
    rates = window.rates(now)
    assert (rates.compared, rates.live_denied, rates.candidate_denied) == (
        len(alive),
        sum(live for _, live, _ in alive),
        sum(candidate for _, _, candidate in alive),
    )
