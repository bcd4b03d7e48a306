"""An engine that remembers what another engine decided. A cached engine is an engine.

A decision is kept under a digest of everything that it depends on: the entrypoint, the policy revision, the
revocation epoch, and the projected input, which has every path that the policy can read. It is used again

1. only while its own life lasts: the least of the decision's `ttl`, `settings.ttl` (`settings.deny_ttl` for a
   denial), and the cap that the entrypoint's nondeterministic builtins put on it;
2. only for a question that takes an answer of its age (`query.ttl`: route, token, certificate);
3. never when the policy's revision is not known, and never after a fault: faults are not kept.

Equal questions that miss at the same time are asked once. Each waits for as long as its own deadline lets it; when
one leaves, the others wait on, and when the last one leaves, the question is given up.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.errors import EngineFault
from extauthz.lru import SegmentedLru
from extauthz.model import Allow
from extauthz.policy.engine import Evaluation, Query
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.clock import Clock
    from extauthz.policy.engine import Engine
    from extauthz.policy.settings import CacheSettings

log = logging.getLogger(__name__)

DIGEST_BYTES: Final = 24
MAX_PREFIXES: Final = 4096
LONGEST_WAIT: Final = 3600.0


@dataclass(slots=True)
class CacheStats:
    """Counters since the start; `shared` are misses that joined a question under way."""

    hits: int = 0
    misses: int = 0
    shared: int = 0
    entries: int = 0
    evicted: int = 0


class _Kept:
    __slots__ = ("evaluation", "expires", "since")

    def __init__(self, evaluation: Evaluation, since: float, expires: float) -> None:
        self.evaluation = evaluation
        self.since = since
        self.expires = expires


@dataclass(slots=True, eq=False)
class _Question:
    key: bytes
    query: Query
    revision: str
    epoch: int


@dataclass(slots=True, eq=False)
class _Flight:
    question: _Question
    task: asyncio.Task[Evaluation | EngineFault]
    waiters: int = 0


class CachedEngine:
    """`epoch` gives the revocation epoch; `cap` gives, by entrypoint, the seconds that its builtins allow
    (`Analysis.ttl_cap`): 0 not at all, inf without a bound. Takes over `inner` and closes it."""

    def __init__(
        self,
        inner: Engine,
        *,
        settings: CacheSettings,
        clock: Clock,
        epoch: Callable[[], int],
        cap: Callable[[str], float],
    ) -> None:
        self._inner = inner
        self._settings = settings
        self._clock = clock
        self._epoch = epoch
        self._cap = cap
        self._kept: SegmentedLru[bytes, _Kept] = SegmentedLru(settings.max_entries)
        self._flights: dict[bytes, _Flight] = {}
        self._prefixes: dict[str, hashlib.blake2b] = {}
        self._prefixes_for: tuple[str, int] = ("", -1)
        self._tasks = Tasks()
        self._stats = CacheStats()

    @property
    def revision(self) -> str:
        return self._inner.revision

    @property
    def stats(self) -> CacheStats:
        self._stats.entries = len(self._kept)
        self._stats.evicted = self._kept.evicted
        return self._stats

    async def evaluate(self, query: Query) -> Evaluation:
        revision = self._inner.revision
        if query.ttl <= 0 or not revision or self._cap(query.entrypoint) <= 0:  # 3
            self._stats.misses += 1
            return await self._inner.evaluate(query)
        epoch = self._epoch()
        key = self._key(query, revision, epoch)
        kept = self._kept.get(key)
        if kept is not None:
            now = self._clock.monotonic()
            if now < kept.expires and now - kept.since < query.ttl:  # 1, 2
                self._stats.hits += 1
                return kept.evaluation
            if now >= kept.expires:
                self._kept.discard(key)
        self._stats.misses += 1
        return await self._ask(_Question(key, query, revision, epoch))

    async def ready(self) -> bool:
        return await self._inner.ready()

    async def close(self) -> None:
        await self._tasks.close()
        await self._inner.close()

    def _key(self, query: Query, revision: str, epoch: int) -> bytes:
        if self._prefixes_for != (revision, epoch):
            self._prefixes = {}
            self._prefixes_for = (revision, epoch)
        prefix = self._prefixes.get(query.entrypoint)
        if prefix is None:
            text = f"{len(revision)}:{revision}:{epoch}:{len(query.entrypoint)}:{query.entrypoint}:"
            prefix = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES)
            if len(self._prefixes) < MAX_PREFIXES:
                self._prefixes[query.entrypoint] = prefix
        digest = prefix.copy()
        digest.update(query.input)
        return digest.digest()

    async def _ask(self, question: _Question) -> Evaluation:
        while True:
            left = question.query.deadline - self._clock.monotonic()
            if left <= 0:
                raise EngineFault("engine.deadline", "no time was left to ask the engine")
            flight = self._flights.get(question.key)
            if flight is None:
                flight = self._start(question)
            else:
                self._stats.shared += 1
            answer = await self._wait(flight, left)
            if isinstance(answer, Evaluation):
                return answer
            if answer.code != "engine.deadline" or flight.question is question:
                raise answer
            # Whoever asked first had less time than this question has: ask again.

    def _start(self, question: _Question) -> _Flight:
        flight = _Flight(question, self._tasks.start(self._fly(question), "policy-question"))
        self._flights[question.key] = flight
        flight.task.add_done_callback(lambda _: self._landed(flight))
        return flight

    def _landed(self, flight: _Flight) -> None:
        if self._flights.get(flight.question.key) is flight:
            del self._flights[flight.question.key]

    async def _wait(self, flight: _Flight, seconds: float) -> Evaluation | EngineFault:
        flight.waiters += 1
        try:
            await asyncio.wait((flight.task,), timeout=min(seconds, LONGEST_WAIT))
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._landed(flight)
                flight.task.cancel()
        if not flight.task.done():
            raise EngineFault("engine.deadline", "the engine did not answer in time")
        if flight.task.cancelled():
            return EngineFault("engine.unavailable", "the engine is closing")
        return flight.task.result()

    async def _fly(self, question: _Question) -> Evaluation | EngineFault:
        """A fault is returned, not raised: nobody may be left to take it."""
        since = self._clock.monotonic()
        try:
            evaluation = await self._inner.evaluate(question.query)
        except EngineFault as fault:
            return fault
        except Exception:
            log.exception("the engine failed in a way that it must not")
            return EngineFault("engine.internal", "the engine failed")
        if evaluation.revision == question.revision and self._epoch() == question.epoch:
            self._keep(question, evaluation, since)
        return evaluation

    def _keep(self, question: _Question, evaluation: Evaluation, since: float) -> None:
        decision = evaluation.decision
        life = self._settings.ttl if isinstance(decision, Allow) else self._settings.deny_ttl
        life = min(life, self._cap(question.query.entrypoint))
        if decision.ttl is not None:
            life = min(life, decision.ttl)
        if life > 0:
            kept = Evaluation(decision, evaluation.revision, cached=True)
            self._kept.put(question.key, _Kept(kept, since, since + life))
