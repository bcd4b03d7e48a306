"""A circuit breaker: whoever fails again and again is left alone for a moment, and then asked by one caller alone.

    closed ──(`failures` in a row)──▶ open ──(its pause is over)──▶ half-open ──(the probe is answered)──▶ closed
                                       ▲                               │
                                       └──(the probe fails: pause × 2)─┘

1. Only the endpoint's own failures count. An answer is an answer, whatever it says, and ends a row of failures.
2. A pause is drawn between half of its length and all of it, so that many servers do not come back at once.
3. When a pause is over, one call is the probe; the others are refused until it has ended. A probe that told nothing
   (its caller had too little time) leaves the next call to be the probe.
4. Calls that began before the last change change nothing any more: each carries the ticket that it was let in with.

Not thread-safe: one breaker belongs to one event loop. Times are monotonic seconds.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED: Final = 0
"""The ticket of a call that is not let in."""


class State(IntEnum):
    """As `extauthz_breaker_state` shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """`moved` is told each new state; `random` gives numbers in [0, 1)."""

    __slots__ = ("_era", "_failures", "_longest", "_most", "_moved", "_pause", "_probing", "_random", "_shortest",
                 "_until", "state")  # fmt: skip

    def __init__(
        self,
        *,
        failures: int,
        pause: float,
        longest: float,
        random: Callable[[], float],
        moved: Callable[[State], None] = lambda _state: None,
    ) -> None:
        self._most = failures
        self._shortest = self._pause = pause
        self._longest = longest
        self._random = random
        self._moved = moved
        self.state = State.CLOSED
        self._failures = 0
        self._era = 1
        self._probing = False
        self._until = 0.0

    def refuses(self, now: float) -> bool:
        """Whether a call would be refused now; nothing changes."""
        return self.state is not State.CLOSED and (self._probing or now < self._until)

    def admit(self, now: float) -> int:
        """The ticket of one call, or REFUSED. Each ticket goes back once: to `good`, `bad` or `untold`."""
        if self.state is State.CLOSED:
            return self._era
        if self._probing or now < self._until:
            return REFUSED
        if self.state is State.OPEN:
            self._move(State.HALF_OPEN)
        self._probing = True  # 3
        return self._era

    def good(self, ticket: int) -> None:
        """The endpoint answered."""
        if ticket != self._era:  # 4
            return
        self._failures = 0
        if self.state is not State.CLOSED:
            self._pause = self._shortest
            self._move(State.CLOSED)

    def bad(self, ticket: int, now: float) -> None:
        """The endpoint failed."""
        if ticket != self._era:  # 4
            return
        if self.state is State.CLOSED:
            self._failures += 1
            if self._failures < self._most:
                return
        else:
            self._pause = min(2 * self._pause, self._longest)
        self._until = now + self._pause * (0.5 + self._random() / 2)  # 2
        self._move(State.OPEN)

    def untold(self, ticket: int) -> None:
        """The call ended and says nothing about the endpoint."""
        if ticket == self._era:
            self._probing = False

    def _move(self, state: State) -> None:
        self.state = state
        self._era += 1
        self._failures = 0
        self._probing = False
        self._moved(state)
