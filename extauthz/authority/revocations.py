"""What the authority itself knows of revocations: never older than the question.

1. each question first asks the store whether the log has grown, and reads what is new
2. a log that has gaps, or more entries than fit, answers nothing: StoreError, so nothing is issued
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from extauthz.authn.revocation_index import Index, Learned
from extauthz.store.revocations import LOG, RevocationLog
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extauthz.clock import Clock
    from extauthz.store.revocations import Kind, Page
    from extauthz.store.store import Store

ROOM: Final = 100_000


class RevocationBook:
    """Implements `sts.interfaces.Revocations` over the log of a store that replicas share."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = RevocationLog(store, clock)
        self._learned = Learned(ROOM)
        self._index = Index()
        self._seen = 0
        self._lock = asyncio.Lock()

    async def revoke(self, kind: str, value: str, *, until: float, before: float | None = None, reason: str) -> int:
        """The entry's sequence number: it is stored. Raises StoreError and BadRevocation."""
        return await self._log.revoke(cast("Kind", kind), value, until=until, before=before, reason=reason)

    async def revoked(
        self, *, digest: str, jti: str, sub: str, kid: str, issued_at: float, ancestors: Sequence[str]
    ) -> bool:
        index = await self._current()
        return index.token(digest=digest, jti=jti, sub=sub, kid=kid, issued_at=issued_at, ancestors=tuple(ancestors))

    async def workload_revoked(
        self, spiffe_id: str, certificate_sha256: str = "", predecessors: Iterable[str] = ()
    ) -> bool:
        """`predecessors`: what the certificate names; a revoked one takes its successors along."""
        revoked = (await self._current()).workload
        return not revoked.isdisjoint((spiffe_id, certificate_sha256, *predecessors))

    async def page(self, after: int, wait: float) -> Page:
        """For `GET /v1/revocations`."""
        return await self._log.read(after, wait)

    async def _current(self) -> Index:
        if await self._store.last(LOG) == self._seen and not self._learned.forget(self._clock.now()):  # 1
            return self._index
        async with self._lock:
            page = await self._log.read(self._seen)
            if not page.complete and self._seen:  # another log than the one we know: all of it again
                self._learned, self._seen = Learned(ROOM), 0
                page = await self._log.read(0)
            _, room = self._learned.add(page.entries, self._clock.now())
            if not page.complete or not room:  # 2
                raise StoreError("the revocation log cannot be read as a whole")
            self._seen = page.sequence
            self._index = self._learned.index()
            return self._index
