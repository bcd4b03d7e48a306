"""What waits to be judged, and what became of it: the laws that every queue keeps.

1. `put` is durable when it is answered: what was taken survives the end of any process.
2. A claim is a lease. Who claimed an entry and fell silent has lost it: another claims it again (at least once).
3. `settle` ends an entry once, whoever claimed it: its verdict, its strike and a quarantine that follows from it are
   one step, and only the first verdict has an effect (exactly once in effect).
4. A settled entry stays until it was `told`: it is claimed again, with its verdict, by whoever has to tell it.
5. What was told is kept for a while without its request: the ledger of what became of every entry.

Times are seconds since the epoch, by the clock of who writes. What fails raises `StoreError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extauthz.judgement.quarantine import Key, Quarantine

STRIKES_KEPT: Final = 86400.0
"""Seconds for which a strike can matter: the longest window."""
ENDED_KEPT: Final = 86400.0
"""Seconds for which an ended quarantine is remembered: what was accepted before its end adds no strike."""
MAX_QUARANTINES: Final = 50_000
"""Quarantines in force that are looked at; with more, those that end first are not."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry to be judged. `id` is its decision id."""

    id: str
    body: bytes
    accepted: float


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry that this judge holds. `ticket` is the queue's name for it."""

    ticket: str
    body: bytes
    accepted: float
    begun: int
    """How often it was claimed and not put back, this time included."""
    verdict: bytes
    """Empty: to be judged. Else it was judged, and has to be told."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One violation, counted for `key`; `strikes` of them within `window` begin a quarantine of `duration` seconds."""

    key: Key
    id: str
    """The decision id: the same violation counts once."""
    at: float
    """When the request was accepted."""
    strikes: int
    window: float
    duration: float


@dataclass(frozen=True, slots=True)
class Settlement:
    ticket: str
    verdict: bytes
    strike: Strike | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """`first`: this verdict is the one. `quarantine`: what its strike began."""

    first: bool
    quarantine: Quarantine | None = None


@dataclass(frozen=True, slots=True)
class State:
    """`oldest`: when the oldest entry without a verdict was accepted; None: none waits. `changes` counts changes of
    quarantines: as long as it stays, so do they."""

    waiting: int
    oldest: float | None
    changes: int


class Queue(Protocol):
    async def put(self, entries: Sequence[Waiting]) -> int:
        """How many of them, from the first, were taken; fewer than all when the queue is full."""

    async def withdraw(self, ids: Iterable[str]) -> None:
        """Entries that are judged elsewhere now; those that were judged already stay judged."""

    async def claim(self, most: int) -> Sequence[Claim]:
        """The oldest entries that nobody holds."""

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """One answer for each."""

    async def put_back(self, tickets: Iterable[str], delay: float) -> None:
        """Not judged: to be claimed again after `delay` seconds."""

    async def told(self, tickets: Iterable[str]) -> None: ...

    async def state(self) -> State: ...

    async def ledger(self, after: str = "", limit: int = 10_000) -> Sequence[tuple[str, bytes]]:
        """Places and verdicts of what was told, in order, beyond the place `after`."""

    async def quarantines(self) -> Sequence[Quarantine]:
        """Those in force; at most MAX_QUARANTINES, those that end last."""

    async def confine(self, quarantine: Quarantine) -> None:
        """Put into force by an operator; replaces one of the same key."""

    async def release(self, key: Key) -> Quarantine | None:
        """Ends it now; None: there was none."""

    async def close(self) -> None: ...
