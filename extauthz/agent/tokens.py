"""JWT-SVIDs for the workload: fetched once for everybody who asks at the same time, kept to half their life.

A kept token goes on being given out until its end when the authority is away.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.agent.authority import AuthorityFault, Refusal
from extauthz.lru import SegmentedLru
from extauthz.workload_api import jwt_svid

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.agent.authority import Authority
    from extauthz.clock import Clock
    from extauthz.tasks import Tasks
    from extauthz.workload_api.identity import Identity

log = logging.getLogger(__name__)

MAX_KEPT: Final = 256
MAX_FETCHES: Final = 64
"""Fetches at once; more callers are told to come back."""
LAST_SECONDS: Final = 5.0
"""A token with less left is of no use to who asks for one."""


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str = field(repr=False)
    fresh_until: float
    expires_at: float


class JwtSvidKeeper:
    """Implements `workload_api.server.JwtSvids`."""

    def __init__(
        self, authority: Authority, identity: Callable[[], Identity | None], clock: Clock, tasks: Tasks
    ) -> None:
        self._authority = authority
        self._identity = identity
        self._clock = clock
        self._tasks = tasks
        self._kept: SegmentedLru[tuple[str, ...], _Kept] = SegmentedLru(MAX_KEPT)
        self._fetches: dict[tuple[str, ...], asyncio.Task[str | AuthorityFault]] = {}

    async def jwt_svid(self, audience: tuple[str, ...]) -> str:
        """Raises ExtauthzError."""
        identity = self._identity()
        if identity is None:
            raise AuthorityFault("there is no identity")
        key = (identity.svid.spiffe_id, *sorted(audience))
        kept, now = self._kept.get(key), self._clock.now()
        if kept is not None and now < kept.fresh_until:
            return kept.token
        fetched = await asyncio.shield(self._fetch(key, identity, audience))
        if isinstance(fetched, str):
            return fetched
        if kept is None or self._clock.now() + LAST_SECONDS > kept.expires_at:
            raise fetched
        log.warning("a JWT-SVID is given out past half its life: %s", fetched)
        return kept.token

    def _fetch(
        self, key: tuple[str, ...], identity: Identity, audience: tuple[str, ...]
    ) -> asyncio.Task[str | AuthorityFault]:
        running = self._fetches.get(key)
        if running is None:
            if len(self._fetches) >= MAX_FETCHES:
                raise AuthorityFault("too many JWT-SVIDs are being fetched")
            running = self._tasks.start(self._fetched(key, identity, audience), "jwt-svid")
            self._fetches[key] = running
        return running

    async def _fetched(
        self, key: tuple[str, ...], identity: Identity, audience: tuple[str, ...]
    ) -> str | AuthorityFault:
        """The fault is a value here: several callers wait for it, or none any more."""
        try:
            answer = await self._authority.jwt_svid(identity, audience)
        except AuthorityFault as fault:
            return fault
        finally:
            del self._fetches[key]
        if isinstance(answer, Refusal):
            return AuthorityFault(f"the authority refuses: {answer}")
        found, now = jwt_svid.read(answer), self._clock.now()
        if isinstance(found, str):
            return AuthorityFault(f"the authority answered no JWT-SVID: {found}")
        ours = found.spiffe_id == identity.svid.spiffe_id and set(found.audience) == set(audience)
        if not ours or found.expires_at <= now:
            return AuthorityFault("the authority answered a JWT-SVID of somebody else, for others, or an expired one")
        self._kept.put(key, _Kept(found.token, now + (found.expires_at - now) / 2, found.expires_at))
        return found.token
