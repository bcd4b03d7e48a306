"""Judges what waits, in the background of a worker's loop.

    1  claim      a lease on the oldest entries; what is judged already and was never told is told
    2  give way   Checks go first: between two judgements this loop waits while Checks are in flight, for a moment
    3  judge      by the policy now active (`Desk`), within a time of its own; a part that failed is asked again later,
                  until `give_up`: then the request is reported as unjudged
    4  settle     verdict, strike and quarantine in one step of the queue: once, whoever judged
    5  tell       record, audit trail, metric, alert; what could not be told is told again after the lease

A judge that ends in the middle loses nothing: its lease ends, and another goes on at 1.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.errors import ExtauthzError
from extauthz.judgement.entry import Entry
from extauthz.judgement.queue import Settlement
from extauthz.judgement.verdict import Verdict
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extauthz.clock import Clock
    from extauthz.judgement.quarantine import Quarantine
    from extauthz.judgement.queue import Claim, Queue, Settled, Strike
    from extauthz.judgement.settings import JudgementSettings
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)
_LOOK: Final = 0.5
"""Seconds between two looks at a queue that was empty: for what others put, and for leases that ended."""
_WAYS: Final = 4
"""Milliseconds for which a judgement gives way to Checks, at most: it must go on under load, too."""
_PAUSES: Final = (0.1, 5.0)
"""Seconds without work after a turn that failed as a whole, doubling from the first to the second."""
_RETRY: Final = (0.2, 30.0)
"""Seconds until an entry is tried again: random up to its age, between these two."""
_MOST_BEGUN: Final = 5
"""A request whose judgement was begun and abandoned so often may be what ends its judges: it is reported."""


@dataclass(frozen=True, slots=True)
class Judged:
    verdict: Verdict
    strike: Strike | None = None


class Desk(Protocol):
    """Where entries are judged and told: the part that knows policies. Another one takes over at a reload."""

    async def judge(self, entry: Entry) -> Judged | None:
        """None: a part failed; to be tried again. Raises nothing but CancelledError."""

    def unjudged(self, entry: Entry, code: str, detail: str) -> Verdict:
        """That it could not be judged."""

    async def tell(self, entry: Entry | None, verdict: Verdict, quarantine: Quarantine | None) -> bool:
        """Whether it was told; if not, it is told again. `entry` is None where it cannot be read."""


class Judge:
    """`busy`: whether Checks are in flight. `random`: 0 ≤ x < 1."""

    def __init__(
        self,
        queue: Queue,
        settings: JudgementSettings,
        clock: Clock,
        *,
        busy: Callable[[], bool],
        begun: Callable[[Quarantine], None],
        random: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._busy = busy
        self._begun = begun
        self._random = random
        self._desk: Desk | None = None
        self._some = asyncio.Event()
        self._held: set[str] = set()
        self._pause = _PAUSES[0]

    def use(self, desk: Desk | None) -> None:
        """None: nothing more is claimed here."""
        self._desk = desk
        self._some.set()

    def arrived(self) -> None:
        self._some.set()

    def start(self, tasks: Tasks) -> None:
        tasks.start(self._run(), "judgement")

    async def close(self) -> None:
        """After the task has ended: what it held is for others at once."""
        held, self._held = [*self._held], set()
        if held:
            with suppress(StoreError):
                await self._queue.put_back(held, 0.0)

    async def _run(self) -> None:
        while True:
            self._some.clear()
            desk = self._desk
            try:
                claims = [] if desk is None else await self._queue.claim(self._settings.batch)  # 1
                if desk is not None and claims:
                    await self._turn(desk, claims)
                    continue
            except StoreError as error:
                log.warning("the judgement queue does not answer: %s", error)
                await self._rest()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._some.wait()

    async def _turn(self, desk: Desk, claims: Sequence[Claim]) -> None:
        """Raises StoreError."""
        self._held = {claim.ticket for claim in claims}
        until = self._clock.monotonic() + self._settings.lease / 2
        entries = {claim.ticket: _read(claim) for claim in claims}
        found: dict[str, Judged] = {}
        failed: list[Claim] = []
        left = [claim for claim in reversed(claims) if not claim.verdict]
        asked = len(left)

        async def lane() -> None:
            while left and self._clock.monotonic() < until:
                claim = left.pop()
                await self._give_way()  # 2
                judged = await self._judge(desk, claim, entries[claim.ticket])  # 3
                if judged is None:
                    failed.append(claim)
                else:
                    found[claim.ticket] = judged

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.concurrency, asked)):
                group.create_task(lane())
        if left:
            await self._put_back(left, 0.0)
        if failed:
            youngest = max(claim.accepted for claim in failed)
            await self._put_back(failed, self._delay(self._clock.now() - youngest))
        settled = await self._settle(found)  # 4
        await self._tell(desk, claims, entries, settled)  # 5
        self._held = set()
        if failed and not found:
            await self._rest()
        else:
            self._pause = _PAUSES[0]

    async def _judge(self, desk: Desk, claim: Claim, entry: Entry | None) -> Judged | None:
        if entry is None:
            return Judged(_unreadable(claim, self._clock.now()))
        if claim.begun > _MOST_BEGUN:
            detail = f"its judgement was begun {claim.begun - 1} times and never ended"
            return Judged(desk.unjudged(entry, "engine.internal", detail))
        judged = await desk.judge(entry)
        if judged is None and self._clock.now() - entry.accepted > self._settings.give_up:
            return Judged(desk.unjudged(entry, "engine.unavailable", "the parts that judge it failed for too long"))
        return judged

    async def _settle(self, found: dict[str, Judged]) -> dict[str, tuple[Verdict, Settled]]:
        if not found:
            return {}
        asked = [Settlement(ticket, judged.verdict.dump(), judged.strike) for ticket, judged in found.items()]
        answers = await self._queue.settle(asked)
        settled = {}
        for (ticket, judged), answer in zip(found.items(), answers, strict=True):
            if answer.first:  # not first: another judge was quicker, and tells
                settled[ticket] = (judged.verdict, answer)
            if answer.quarantine is not None:
                self._begun(answer.quarantine)
        return settled

    async def _tell(
        self,
        desk: Desk,
        claims: Sequence[Claim],
        entries: dict[str, Entry | None],
        settled: dict[str, tuple[Verdict, Settled]],
    ) -> None:
        again = [claim for claim in claims if claim.verdict]
        known = {} if not again else {made.decision_id: made for made in await self._queue.quarantines()}
        to_tell = [(ticket, verdict, answer.quarantine) for ticket, (verdict, answer) in settled.items()]
        told = []
        for claim in again:
            verdict = _verdict(claim)
            if verdict is None:
                told.append(claim.ticket)
            else:
                to_tell.append((claim.ticket, verdict, known.get(verdict.decision_id)))
        answers = await asyncio.gather(
            *(desk.tell(entries[ticket], verdict, quarantine) for ticket, verdict, quarantine in to_tell)
        )
        told += [ticket for (ticket, _, _), answer in zip(to_tell, answers, strict=True) if answer]
        if told:
            await self._queue.told(told)

    async def _put_back(self, claims: Sequence[Claim], delay: float) -> None:
        await self._queue.put_back([claim.ticket for claim in claims], delay)
        self._held -= {claim.ticket for claim in claims}

    def _delay(self, age: float) -> float:
        """Full jitter over the age: what waits longer is asked for less often."""
        least, most = _RETRY
        return least + self._random() * min(max(age, least), most)

    async def _rest(self) -> None:
        pause, self._pause = self._pause, min(self._pause * 2, _PAUSES[1])
        await asyncio.sleep(pause * (0.5 + self._random() / 2))

    async def _give_way(self) -> None:
        await asyncio.sleep(0)
        for _ in range(_WAYS):
            if not self._busy():
                return
            await asyncio.sleep(0.001)


def _read(claim: Claim) -> Entry | None:
    try:
        return Entry.load(claim.body)
    except ExtauthzError as error:
        log.error("entry %s of the judgement queue: %s", claim.ticket, error)  # noqa: TRY400 - expected, no traceback
        return None


def _verdict(claim: Claim) -> Verdict | None:
    try:
        return Verdict.load(claim.verdict)
    except ExtauthzError as error:
        log.error("entry %s of the judgement queue: %s", claim.ticket, error)  # noqa: TRY400 - expected, no traceback
        return None


def _unreadable(claim: Claim, now: float) -> Verdict:
    lag = max(now - claim.accepted, 0.0)
    detail = f"entry {claim.ticket} of the queue cannot be read"
    return Verdict("", "", "", "reported", now, lag, "engine.internal", detail)
