"""Time is a parameter.

Two scales, never mixed: `now` is seconds since the Unix epoch (token and certificate validity), `monotonic` is
seconds on a scale that never jumps (deadlines, cache ages, cool-downs).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; comparable with `asyncio`'s loop time."""


class SystemClock:
    now = staticmethod(time.time)  # noqa: TID251 - the one place that may ask the machine
    monotonic = staticmethod(time.monotonic)


@dataclass(slots=True)
class ManualClock:
    """A clock that a test moves by hand; both scales move together."""

    epoch: float = 1_800_000_000.0
    elapsed: float = 0.0

    def now(self) -> float:
        return self.epoch + self.elapsed

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds
