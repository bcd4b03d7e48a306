"""Keeps `Revocations` up to date from one source, and its snapshot on disk.

One round: ask for what came after the newest entry that we know, learn it, and note that we are up to date. Any doubt
(an incomplete page, a sequence number that went back, no room) sends us back to the beginning: everything is asked for
again, and until all of it was learned nothing counts as heard. A source that fails is asked again with growing,
jittered pauses; rounds never start faster than every 50 ms.
"""

from __future__ import annotations

import asyncio
import logging
import random as system_random
from typing import TYPE_CHECKING, Final, TypeVar

from extauthz.authn import revocation_snapshot as snapshot
from extauthz.authn.revocation_feed import FeedSource, LogSource
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.authn.revocation import Revocations
    from extauthz.authn.revocation_feed import FeedClient, Source
    from extauthz.clock import Clock
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_SHORTEST_ROUND: Final = 0.05
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LONGEST_WAIT: Final = 20.0
_WAITS_PER_AGE: Final = 3
"""An idle source is heard this often within `max_age`."""
_KEEP: Final = 1.0
"""Seconds between two looks whether the snapshot must be written."""
_FORGET: Final = 10.0
"""Shortest time between two looks for entries that may be forgotten."""
_MANY: Final = 1000
"""Entries from which on work with them is done in a thread: requests do not wait for it."""


def open_follower(revocations: Revocations, client: FeedClient, clock: Clock) -> Follower | None:
    """Of the source that the settings name besides the file. Blocks. Raises ConfigError."""
    settings = revocations.settings
    if settings.redis is not None:
        return Follower(LogSource.open(settings.redis, clock), revocations, clock)
    if settings.feed is not None:
        return Follower(FeedSource(settings.feed, client), revocations, clock)
    return None


class Follower:
    """`random` gives 0 to 1, for the jitter."""

    def __init__(
        self,
        source: Source,
        revocations: Revocations,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = system_random.random,
    ) -> None:
        self._source = source
        self._revocations = revocations
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._wait = min(_LONGEST_WAIT, revocations.settings.max_age / _WAITS_PER_AGE)
        self._after = 0
        self._problem = ""
        self._was_stale = False
        self._kept: tuple[int, float] | None = None
        self._forgot = clock.monotonic()

    async def first(self) -> None:
        """The snapshot, then one round. Never fails: without either, `stale` is true until the source answers."""
        path = self._revocations.settings.snapshot
        kept = None if path is None else await asyncio.to_thread(snapshot.load, path)
        if kept is not None:
            age = self._clock.now() - kept.at
            all_fit = await _aside(len(kept.entries), self._revocations.learn, kept.entries)
            # A time that has not come yet says nothing about the file's age.
            if all_fit and age >= 0 and self._revocations.heard_at is None:
                self._revocations.heard(0, age)
        await self._round(0.0)

    def start(self, tasks: Tasks) -> None:
        tasks.start(self.follow(), "revocations")
        if self._revocations.settings.snapshot is not None:
            tasks.start(self.keep(), "revocation snapshot")

    async def close(self) -> None:
        await self.save()
        await self._source.close()

    async def follow(self) -> None:
        """Until cancelled."""
        failed = 0
        while True:
            started = self._clock.monotonic()
            good = await self._round(0.0 if failed else self._wait)  # after a failure, first of all a word
            if started - self._forgot >= _FORGET:
                self._forgot = started
                await _aside(self._revocations.size, self._revocations.forget)
            self._note_stale()
            failed = 0 if good else failed + 1
            pause = _SHORTEST_ROUND - (self._clock.monotonic() - started)
            if failed:
                pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(failed, 16)) * (0.5 + self._random() / 2)
            await self._sleep(max(pause, 0.0))

    async def keep(self) -> None:
        """Writes the snapshot after each change, and often enough that its age says what we know. Until cancelled."""
        while True:
            await self._sleep(_KEEP)
            await self.save()

    async def save(self) -> None:
        """Writes the snapshot when there is something to write."""
        revocations = self._revocations
        path, heard_at = revocations.settings.snapshot, revocations.heard_at
        if path is None or heard_at is None:
            return
        fresh_enough = self._kept is not None and heard_at - self._kept[1] < self._wait
        if self._kept is not None and self._kept[0] == revocations.epoch and fresh_enough:
            return
        state = (revocations.epoch, heard_at)
        at = self._clock.now() - (self._clock.monotonic() - heard_at)
        try:
            await asyncio.to_thread(snapshot.write, path, at, revocations.learned())
        except OSError as error:
            log.error("the revocation snapshot cannot be written: %s", error.strerror)  # noqa: TRY400 - says all
        self._kept = state

    async def _round(self, wait: float) -> bool:
        """Whether everything up to now is known."""
        try:
            page = await self._source.poll(self._after, wait)
        except ExtauthzError as error:
            self._trouble(str(error))
            return False
        all_fit = await _aside(len(page.entries), self._revocations.learn, page.entries)
        if not all_fit:
            self._trouble("more is revoked than revocation.max_entries has room for")
        elif not page.complete or page.sequence < self._after:
            self._trouble("the source's entries have a gap: all are asked for again")
        else:
            self._after = page.sequence
            self._revocations.heard(page.sequence)
            self._trouble("")
            return True
        self._after = 0
        return False

    def _trouble(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("revocations are not up to date: %s", problem)
        elif self._problem and not problem:
            log.info("revocations are up to date again")
        self._problem = problem

    def _note_stale(self) -> None:
        stale = self._revocations.stale
        if stale and not self._was_stale:
            log.error("revocations are stale: routes with effects deny until the source is heard again")
        elif self._was_stale and not stale:
            log.info("revocations are fresh again: routes with effects are served")
        self._was_stale = stale


async def _aside(size: int, work: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.to_thread(work, *arguments) if size > _MANY else work(*arguments)
