"""One endpoint that we ask, as its breaker and its retries see it: which outcomes are the endpoint's own failures.

| outcome | breaker |
| --- | --- |
| an answer, also a refusal, an error about our question, or one that cannot be used | good |
| no connection, a broken one, bytes that are not the protocol, HTTP 502, 503, 504 (OPA: any other status) | bad |
| no answer in time, though the endpoint had its whole timeout, or `PATIENCE` times its usual time | bad |
| no answer in the shorter time that the caller left, or until it went away | nothing: that is the caller's haste |

The usual time is a moving average of the answers. So a breaker never opens because of denials, undefined answers or
callers that wait for too short a time.

A retry is for a question that changes nothing, after a failure that is not a timeout, while the breaker is closed. It
waits a random time up to a bound that doubles (full jitter), and only where the caller's time lasts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from extauthz.breaker import REFUSED, Breaker, State
from extauthz.settings import Duration, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.clock import Clock

__all__ = ["REFUSED", "BreakerSettings", "Endpoint", "Endpoints"]

PATIENCE: Final = 8
_LEAST_PATIENCE: Final = 0.05
"""Seconds: jitter of the machine below it says nothing about an endpoint."""
_WEIGHT: Final = 1 / 16
"""Of the newest answer, in the usual time."""
_BACKOFF: Final = 0.01
"""Seconds: the longest wait before the first retry."""


class BreakerSettings(Settings):
    """When an endpoint that fails is left alone, and for how long. Denials and undefined answers are no failures."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failures in a row that open the breaker."""
    pause: Duration = Field("500ms", validate_default=True, gt=0, le=60)
    """The first pause; it doubles while the probe fails. Each pause is shortened at random by up to a half."""
    longest_pause: Duration = Field("5s", validate_default=True, gt=0, le=300)
    """The longest pause: how long after its recovery an endpoint may still be left alone."""
    retries: Annotated[int, Field(ge=0, le=5)] = 1
    """How often a failed question that changes nothing is asked again, within the caller's deadline."""


class Endpoint:
    """`name` is of the configuration: it becomes a metric label. `timeout`: seconds that one call may take."""

    __slots__ = ("_clock", "_random", "_retries", "_usual", "breaker", "name", "timeout")

    def __init__(
        self,
        name: str,
        settings: BreakerSettings,
        clock: Clock,
        *,
        timeout: float,
        moved: Callable[[str, State], None] = lambda _name, _state: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._clock = clock
        self._random = draw
        self._retries = settings.retries
        self._usual = 0.0
        self.breaker = Breaker(
            failures=settings.failures,
            pause=settings.pause,
            longest=max(settings.pause, settings.longest_pause),
            random=draw,
            moved=lambda state: moved(name, state),
        )

    def refuses(self) -> bool:
        """Whether a call would be refused now: the breaker is open, or half-open and its probe is under way."""
        return self.breaker.state is not State.CLOSED and self.breaker.refuses(self._clock.monotonic())

    def answered(self, ticket: int, seconds: float) -> None:
        """There was an answer, after `seconds`."""
        self._usual += (seconds - self._usual) * _WEIGHT if self._usual else seconds
        self.breaker.good(ticket)

    def failed(self, ticket: int) -> None:
        self.breaker.bad(ticket, self._clock.monotonic())

    def late(self, ticket: int, waited: float) -> None:
        """No answer within `waited` seconds of asking."""
        patience = max(PATIENCE * self._usual, _LEAST_PATIENCE) if self._usual else self.timeout
        if waited >= min(patience, 0.99 * self.timeout):
            self.failed(ticket)
        else:
            self.breaker.untold(ticket)

    def again(self, attempt: int, left: float) -> float | None:
        """The seconds to wait before asking again, after the first, second, … `attempt` failed; None: not again."""
        if attempt > self._retries or self.breaker.state is not State.CLOSED:
            return None
        wait = self._random() * _BACKOFF * (1 << (attempt - 1))
        return wait if wait < left else None


class Endpoints:
    """The endpoints of one generation. `moved` is told an endpoint's name and its breaker's new state."""

    def __init__(self, clock: Clock, moved: Callable[[str, State], None] = lambda _name, _state: None) -> None:
        self._clock = clock
        self._moved = moved
        self._known: dict[str, Endpoint] = {}

    def make(self, name: str, timeout: float, settings: BreakerSettings, kind: str = "") -> Endpoint:
        """A new endpoint. Where another part has the name already, `kind` stands before it."""
        label = f"{kind}:{name}" if name in self._known else name
        made = self._known[label] = Endpoint(label, settings, self._clock, timeout=timeout, moved=self._moved)
        return made

    def states(self) -> dict[str, State]:
        """By name. An open breaker whose pause is over stays open until somebody asks."""
        return {name: endpoint.breaker.state for name, endpoint in self._known.items()}

    def open(self) -> list[str]:
        """Names of the endpoints that are not asked as usual."""
        return sorted(name for name, state in self.states().items() if state is not State.CLOSED)
