"""The caller's deadline, shared out: nobody gets nothing, and all together never get more than there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.check.budget import ANSWER, STAGES, WEIGHTS, Budget, until
from extauthz.check.routes import RouteSettings

TOKEN = {"issuers": ["main"], "audiences": ["a"]}


def route(*, token: bool, degrade: bool, exchange: bool) -> RouteSettings:
    settings: dict[str, Any] = {
        "name": "r",
        "credential": "jwt" if token or exchange else "workload",
        "action": "a.b",
        "resource": {"type": "t"},
        "policy": "p/decision",
    }
    if token or exchange:
        settings["token"] = TOKEN
    if degrade:
        settings["on_failure"] = {"engine": "degrade"}
    if exchange:
        settings["exchange"] = {"audience": "ledger"}
    return RouteSettings.model_validate(settings)


ROUTES = st.tuples(st.builds(route, token=st.booleans(), degrade=st.booleans(), exchange=st.booleans()), st.booleans())


@given(ROUTES, st.floats(0, 1e6), st.floats(0.001, 60), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_the_sum_never_exceeds_and_each_stage_gets_something(
    given_route: tuple[RouteSettings, bool], now: float, seconds: float, used: list[float]
) -> None:
    """`used`: how much of its part each stage takes; whatever it leaves is there for the next."""
    settings, attributes = given_route
    budget = Budget.of(settings, attributes=attributes)
    deadline, began = now + seconds, now
    for stage, part_used in zip(STAGES, used, strict=True):
        part = getattr(budget, stage)
        if not part:
            continue
        ends = until(now, deadline, part)
        assert now < ends < deadline
        now += (ends - now) * part_used
    assert began <= now < deadline  # the answer has something left


@given(ROUTES, st.floats(0.001, 60))
def test_a_stage_that_ends_early_leaves_its_rest_to_the_next(
    given_route: tuple[RouteSettings, bool], seconds: float
) -> None:
    settings, attributes = given_route
    budget = Budget.of(settings, attributes=attributes)
    after_nothing = until(0.0, seconds, budget.engine)
    late = until(seconds / 2, seconds, budget.engine) - seconds / 2
    assert after_nothing == pytest.approx(2 * late)


def test_the_parts_are_those_of_the_table() -> None:
    budget = Budget.of(route(token=True, degrade=True, exchange=True), attributes=True)
    total = ANSWER
    for stage in reversed(STAGES):
        total += WEIGHTS[stage]
        assert getattr(budget, stage) == WEIGHTS[stage] / total
    alone = Budget.of(route(token=False, degrade=False, exchange=False), attributes=False)
    assert alone == Budget(engine=16 / 17)


def test_a_deadline_that_has_passed_stays_passed() -> None:
    assert until(10.0, 9.0, 0.5) < 10.0
    assert until(10.0, float("inf"), 0.5) == float("inf")
