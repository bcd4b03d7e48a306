"""A token bucket: so many at once, and so many a second from then on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Bucket:
    """`left` is what may be taken, as of `since` (monotonic seconds)."""

    left: float
    since: float

    def take(self, now: float, burst: float, per_second: float) -> float:
        """Takes one and answers 0, or takes nothing and says in how many seconds there will be one (inf: never)."""
        self.left = min(burst, self.left + (now - self.since) * per_second)
        self.since = now
        if self.left < 1.0:
            return (1.0 - self.left) / per_second if per_second > 0.0 else math.inf
        self.left -= 1.0
        return 0.0
