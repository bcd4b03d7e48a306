"""Quarantines in force, in memory: what a Check asks, and how it follows the store that all workers share.

A Check costs one test while nobody is in quarantine, else one dictionary lookup for each kind of key that it proved.
The store is looked at every half second; a quarantine that this worker began holds at once. While the store is away,
what was known holds until its time; while it was never read, routes that a rule could cover are refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from extauthz.judgement.quarantine import ANY_ISSUER, EVERYWHERE, tenant_of, vouching
from extauthz.model import deny
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extauthz.clock import Clock
    from extauthz.judgement.quarantine import Kind, Quarantine
    from extauthz.judgement.queue import Queue, State
    from extauthz.model import Deny, Subject, Workload

log = logging.getLogger(__name__)
_CODES: Final = {
    "workload": "workload.quarantined",
    "token": "token.quarantined",
    "tenant": "attribute.tenant_quarantined",
}


class Confined:
    """Implements `check.hooks.Quarantine`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by: dict[tuple[Kind, str], list[Quarantine]] = {}
        self._known = False
        self._changes = -1
        self._guarded: frozenset[str] = frozenset()
        self._all = False

    def guard(self, routes: Iterable[str], *, everywhere: bool) -> None:
        """The routes that rules cover, refused while quarantines are unknown; `everywhere`: every route."""
        self._guarded = frozenset(routes)
        self._all = everywhere

    def refuse(self, route: str, workload: Workload | None, subject: Subject | None) -> Deny | None:
        """The denial of whoever is in quarantine for this route."""
        if not self._by and self._known:
            return None
        if not self._known and (self._all or route in self._guarded):
            return deny("engine.queue_full", "quarantines are not known yet: the judgement queue does not answer")
        if subject is None:
            return None if workload is None else self._in("workload", workload.id, "", route)
        refused = self._in("token", subject.digest[:16], "", route) if subject.digest else None
        tenant = tenant_of(subject)
        if refused is None and tenant is not None:
            return self._in("tenant", tenant, vouching(subject), route)
        return refused

    def _in(self, kind: Kind, value: str, issuer: str, route: str) -> Deny | None:
        for quarantine in self._by.get((kind, value), ()):
            key = quarantine.key
            if key.route not in (EVERYWHERE, route) or key.issuer not in (ANY_ISSUER, issuer):
                continue
            if quarantine.until > self._clock.now():
                return deny(_CODES[kind], f"{quarantine.by} {quarantine.decision_id}".strip())
        return None

    def add(self, quarantine: Quarantine) -> None:
        """Begun here; others hear of it by the store."""
        self._by.setdefault((quarantine.key.kind, quarantine.key.value), []).append(quarantine)

    @property
    def numbers(self) -> dict[str, int]:
        """In force by kind, for metrics."""
        now, counts = self._clock.now(), dict.fromkeys(_CODES, 0)
        for quarantines in self._by.values():
            for quarantine in quarantines:
                counts[quarantine.key.kind] += quarantine.until > now
        return counts

    async def follow(self, queue: Queue, state: State) -> None:
        """Reads what is in force when it has changed, and drops what has ended. Raises StoreError."""
        if state.changes != self._changes or not self._known:
            self._put(await queue.quarantines())
            self._changes, self._known = state.changes, True
        elif self._by:
            now = self._clock.now()
            self._put([made for made in self._all_of_them() if made.until > now])

    async def first(self, queue: Queue) -> None:
        """At the start: a store that does not answer does not keep the server from starting."""
        try:
            await self.follow(queue, await queue.state())
        except StoreError as error:
            log.error("quarantines are not known: %s", error)  # noqa: TRY400 - expected, no traceback

    def _all_of_them(self) -> Iterable[Quarantine]:
        return (made for quarantines in self._by.values() for made in quarantines)

    def _put(self, quarantines: Sequence[Quarantine]) -> None:
        by: dict[tuple[Kind, str], list[Quarantine]] = {}
        for made in quarantines:
            by.setdefault((made.key.kind, made.key.value), []).append(made)
        self._by = by
