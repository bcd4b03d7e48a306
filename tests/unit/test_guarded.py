"""A guarded client: what counts against an endpoint, what is asked again, and what is refused at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from extauthz.breaker import State
from extauthz.clock import ManualClock
from extauthz.endpoint import BreakerSettings, Endpoint
from extauthz.errors import OutboundError
from extauthz.guarded import Guarded
from extauthz.outbound import NoAnswer, Response

URL = "https://accounts.bank.example/x"


class Inner:
    """Answers in order: a status, an error, or seconds to wait on the clock before a timeout."""

    def __init__(self, clock: ManualClock, *answers: OutboundError | float) -> None:
        self._clock = clock
        self.answers = list(answers)
        self.timeouts: list[float] = []

    async def send(self, _method: str, _url: str, *, timeout: float = 0.0, **_: Any) -> Response:
        self.timeouts.append(timeout)
        answer = self.answers.pop(0)
        if isinstance(answer, OutboundError):
            raise answer
        if not isinstance(answer, int):
            self._clock.advance(answer)
            raise NoAnswer("did not answer in time")
        return Response(answer, {}, b"")


def guarded(*answers: OutboundError | float, **settings: Any) -> tuple[Guarded, Inner, Endpoint]:
    clock = ManualClock()
    inner = Inner(clock, *answers)
    endpoint = Endpoint("accounts", BreakerSettings(**settings), clock, timeout=1.0, draw=lambda: 0.0)
    return Guarded(inner, endpoint, clock), inner, endpoint


@pytest.mark.parametrize("first", [503, 502, 504, NoAnswer("broken")])
async def test_a_get_is_asked_once_more(first: int | OutboundError) -> None:
    client, inner, _ = guarded(first, 200)
    assert (await client.send("GET", URL)).status == 200
    assert inner.answers == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_else_is(method: str) -> None:
    client, inner, _ = guarded(503, 200)
    assert (await client.send(method, URL)).status == 503
    client, inner, _ = guarded(NoAnswer("broken"), 200)
    with pytest.raises(NoAnswer):
        await client.send(method, URL)
    assert inner.answers == [200]


async def test_after_a_timeout_no_time_is_left_to_ask_again() -> None:
    client, inner, _ = guarded(1.0, 200)
    with pytest.raises(NoAnswer):
        await client.send("GET", URL, timeout=1.0)
    assert inner.timeouts == [1.0]


async def test_all_tries_share_one_timeout() -> None:
    client, inner, _ = guarded(503, 503, 503, 503, retries=5, failures=100)
    inner.answers.append(200)
    assert (await client.send("GET", URL, timeout=0.5)).status == 200
    assert inner.timeouts == [0.5] * 5  # a clock that stands still


@pytest.mark.attack
@pytest.mark.parametrize("answer", [200, 400, 401, 404, 413, 500, OutboundError("answered more than 5 bytes")])
async def test_no_answer_that_a_caller_can_provoke_opens_the_breaker(answer: int | OutboundError) -> None:
    client, inner, endpoint = guarded(*[answer] * 50, failures=1)
    for _ in range(50):
        with contextlib.suppress(OutboundError):
            await client.send("GET", URL)
    assert inner.answers == []
    assert endpoint.breaker.state is State.CLOSED


async def test_an_open_breaker_refuses_at_once_and_says_so() -> None:
    client, inner, endpoint = guarded(*[NoAnswer("broken")] * 5, 200, failures=5)
    for _ in range(5):
        with pytest.raises(NoAnswer, match="broken"):
            await client.send("POST", URL)
    with pytest.raises(NoAnswer, match="accounts is left alone: its breaker is open"):
        await client.send("POST", URL)
    assert (endpoint.breaker.state, inner.answers) == (State.OPEN, [200])


async def test_a_call_that_is_given_up_early_says_nothing_about_the_endpoint() -> None:
    client, _, endpoint = guarded(failures=1)
    never = asyncio.Event()

    async def send(*_: Any, **__: Any) -> Response:
        await never.wait()
        raise AssertionError

    client._inner.send = send  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.send("GET", URL))
        await asyncio.sleep(0)
        task.cancel()
    assert endpoint.breaker.state is State.CLOSED
    assert endpoint.breaker.admit(0.0)
