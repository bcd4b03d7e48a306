"""How often two policies deny the same questions, within a sliding window.

The window is cut into slots, so memory does not grow with traffic; a slot leaves as a whole when it is too old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from extauthz.policy.rollout_settings import RollbackSettings

SLOTS: Final = 30


@dataclass(slots=True)
class Rates:
    """Questions that both policies answered in the window, and how many each denied (a fault denies)."""

    compared: int = 0
    live_denied: int = 0
    candidate_denied: int = 0

    @property
    def increase(self) -> float:
        """Percentage points by which the candidate denies more; negative when it denies less."""
        if not self.compared:
            return 0.0
        return 100.0 * (self.candidate_denied - self.live_denied) / self.compared


class Window:
    """Not thread-safe. Times are monotonic seconds."""

    __slots__ = ("_rates", "_settings", "_slot", "_slots")

    def __init__(self, settings: RollbackSettings) -> None:
        self._settings = settings
        self._slots = [Rates() for _ in range(SLOTS)]
        self._slot = 0
        self._rates = Rates()

    def add(self, now: float, *, live_denied: bool, candidate_denied: bool) -> None:
        self._turn(now)
        for rates in (self._rates, self._slots[self._slot % SLOTS]):
            rates.compared += 1
            rates.live_denied += live_denied
            rates.candidate_denied += candidate_denied

    def rates(self, now: float) -> Rates:
        """What the window holds now; read-only."""
        self._turn(now)
        return self._rates

    def exceeded(self, now: float) -> bool:
        """Whether the candidate denies more than the bound lets it, on enough questions to say so."""
        rates = self.rates(now)
        bound = self._settings
        return rates.compared >= bound.min_decisions and rates.increase > bound.max_denial_increase

    def clear(self) -> None:
        """Forget everything: what was counted belongs to another arrangement."""
        self._slots = [Rates() for _ in range(SLOTS)]
        self._rates = Rates()

    def _turn(self, now: float) -> None:
        """Empties the slots that time has left behind."""
        slot = int(now / self._settings.window * SLOTS)
        for passed in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            old = self._slots[passed % SLOTS]
            self._rates.compared -= old.compared
            self._rates.live_denied -= old.live_denied
            self._rates.candidate_denied -= old.candidate_denied
            self._slots[passed % SLOTS] = Rates()
        self._slot = max(self._slot, slot)
