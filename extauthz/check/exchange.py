"""Step 7 of a Check: the upstream gets a token of its own in place of the one that came (RFC 8693).

1. What is asked for is what the route says, narrowed by the policy's obligation where it has one; a policy that asks
   for more has a defect, and nothing is allowed.
2. The subject token has been verified by this very Check, revocation included, before anything here is looked up: a
   revoked one, or one of a revoked ancestor, never gets this far.
3. A cached token is handed out for the same subject token, the same certificate of ours and the same question only;
   until shortly before its end, which is never after the subject token's; if it has not been revoked itself; and if it
   says no more than this very Check found of the subject token. That does not suspend.
4. Otherwise the token service is asked, once for all who wait, and not for longer than `timeout`. A hot entry is asked
   for anew in the background before it ends.
5. What it answers is held against what was asked: audience, subject, scopes, purpose, end, and our certificate.
6. Whatever goes wrong is a denial. The token that came never goes on: its header is removed or replaced on every
   route that exchanges (`Route.remove`).

Fetched, not minted here: docs/adr/0008-inline-exchange.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.check.exchanged import Granted, read
from extauthz.errors import EngineFault, ExtauthzError
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, deny
from extauthz.sts.answers import Issued, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.authn.revocation import Revocations
    from extauthz.check.exchange_settings import ExchangeSettings, Kind, TokenServiceSettings
    from extauthz.check.own_identity import Shown
    from extauthz.clock import Clock
    from extauthz.model import Exchange, Subject
    from extauthz.tasks import Tasks

_FOREVER: Final = float("inf")
_AHEAD: Final = 0.75
"""The part of a token's life after which a hot entry is asked for anew."""
_AGAIN: Final = 5.0
"""Seconds between two attempts to do so."""
_OURS: Final = frozenset({"invalid_client", "unauthorized_client", "temporarily_unavailable", "unsupported_grant_type"})
"""Refusals that say nothing about the subject token: our identity, our entry, or the service is at fault."""
_TOO_MUCH: Final = deny("engine.exchange_unavailable", "the exchanged token says more than the one that came")
_NO_IDENTITY: Final = deny("engine.identity_unavailable", "tokens are exchanged with our own certificate")


@dataclass(frozen=True)
class Wanted:
    """Which token is asked for. No scopes, no purpose, no lifetime: as the subject token has them."""

    audience: str
    scopes: tuple[str, ...] = ()
    purpose: str = ""
    lifetime: float | None = None
    kind: Kind = "access_token"

    @classmethod
    def of(cls, settings: ExchangeSettings) -> Wanted:
        scopes = tuple(sorted(set(settings.scopes)))
        return cls(settings.audience, scopes, settings.purpose, settings.lifetime, settings.kind)

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes that tell this question from every other; part of the cache's key."""
        told = (self.audience, self.scopes, self.purpose, self.lifetime, self.kind)
        return hashlib.sha256(repr(told).encode()).digest()[:16]


class TokenService(Protocol):
    async def exchange(
        self, subject_token: str, wanted: Wanted, *, timeout: float, traceparent: str = ""
    ) -> Issued | Refused:
        """Ask once, as ourselves. `timeout`: seconds for all of it. Raises ExtauthzError.

        A token is of the kind that was asked for, and of characters that end no header (`sts.client.read`).
        """


def narrowed(wanted: Wanted, settings: ExchangeSettings, asked: Exchange) -> Wanted:
    """Step 1. Raises EngineFault (`engine.invalid_result`) where the policy asks for more than the route permits."""
    audience, purpose = asked.audience or wanted.audience, asked.purpose or wanted.purpose
    scopes = tuple(sorted(set(asked.scopes))) or wanted.scopes
    if audience != wanted.audience and audience not in settings.audiences:
        raise EngineFault("engine.invalid_result", "the policy exchanges for an audience that the route does not list")
    if purpose != wanted.purpose and purpose not in settings.purposes:
        raise EngineFault("engine.invalid_result", "the policy exchanges for a purpose that the route does not list")
    if wanted.scopes and not set(wanted.scopes).issuperset(scopes):
        raise EngineFault("engine.invalid_result", "the policy exchanges for a scope that the route does not list")
    return Wanted(audience, scopes, purpose, wanted.lifetime, wanted.kind)


@dataclass(slots=True, eq=False)
class _Kept:
    """A token, or the service's refusal. `until`: when it is not handed out any more (seconds since the epoch)."""

    answer: Granted | Deny
    until: float
    ahead: float = _FOREVER
    """When to ask anew in the background (monotonic)."""
    epoch: int = -1


class Exchanger:
    """`own` gives the certificate that we show; `waited` is told how long a call took and whether it was answered."""

    def __init__(
        self,
        settings: TokenServiceSettings,
        service: TokenService,
        *,
        own: Callable[[], Shown | None],
        revocations: Revocations,
        clock: Clock,
        tasks: Tasks,
        waited: Callable[[float, bool], None] = lambda _seconds, _good: None,
    ) -> None:
        self._settings = settings
        self._service = service
        self._own = own
        self._revocations = revocations
        self._clock = clock
        self._tasks = tasks
        self._waited = waited
        self._kept: SegmentedLru[bytes, _Kept] = SegmentedLru(settings.cache_entries)
        self._calls: dict[bytes, asyncio.Task[Granted | Deny]] = {}

    @property
    def entries(self) -> int:
        """Exchanged tokens and refusals that are kept now."""
        return len(self._kept)

    def cached(self, token: str, subject: Subject, wanted: Wanted) -> Granted | Deny | None:
        """Step 3: what is known, without suspending; None: ask `fetch`."""
        own = self._own()
        if own is None:
            return _NO_IDENTITY
        key = _key(token, own, wanted)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock.now() >= kept.until or (isinstance(kept.answer, Granted) and self._revoked(kept, kept.answer)):
            self._kept.discard(key)
            return None
        if self._clock.monotonic() >= kept.ahead:  # 4
            kept.ahead = self._clock.monotonic() + _AGAIN
            self._call(key, token, subject, wanted, own, "")
        return _for(subject, kept.answer)

    async def fetch(
        self, token: str, subject: Subject, wanted: Wanted, deadline: float, traceparent: str = ""
    ) -> Granted | Deny:
        """Step 4. `deadline` is monotonic. Raises TimeoutError when it passes.

        The token service is told the `traceparent` of the first who waits.
        """
        own = self._own()
        if own is None:
            return _NO_IDENTITY
        call = self._call(_key(token, own, wanted), token, subject, wanted, own, traceparent)
        if call is None:
            return deny("engine.exchange_unavailable", "too many exchanges are under way")
        async with asyncio.timeout(deadline - self._clock.monotonic()):
            answer = await asyncio.shield(call)  # who waits may go; the others still want the answer
        return _for(subject, answer)  # the call may have been another Check's

    def _call(
        self, key: bytes, token: str, subject: Subject, wanted: Wanted, own: Shown, traceparent: str
    ) -> asyncio.Task[Granted | Deny] | None:
        """The call for this key that is under way, or a new one; None when there are too many."""
        call = self._calls.get(key)
        if call is None and len(self._calls) < self._settings.max_calls:
            asked = self._ask(key, token, subject, wanted, own, traceparent)
            call = self._calls[key] = self._tasks.start(asked, "token exchange")
            call.add_done_callback(lambda _done: self._calls.pop(key, None))
        return call

    async def _ask(
        self, key: bytes, token: str, subject: Subject, wanted: Wanted, own: Shown, traceparent: str
    ) -> Granted | Deny:
        epoch = self._revocations.epoch  # before the call: what is revoked meanwhile is looked up at the next hit
        started = self._clock.monotonic()
        try:
            timeout = self._settings.timeout
            answer = await self._service.exchange(token, wanted, timeout=timeout, traceparent=traceparent)
        except ExtauthzError as error:
            self._waited(self._clock.monotonic() - started, False)  # noqa: FBT003 - the shape of `waited`
            return deny("engine.exchange_unavailable", str(error))
        ours = isinstance(answer, Refused) and answer.error in _OURS
        self._waited(self._clock.monotonic() - started, not ours)
        if isinstance(answer, Refused):
            detail = f"{answer.error}: {answer.description}"
            if ours:
                return deny("engine.exchange_unavailable", detail)
            refused = deny("token.exchange_refused", detail)
            self._kept.put(key, _Kept(refused, self._clock.now() + self._settings.refused_ttl))
            return refused
        now_own = self._own() or own  # renewed during the call: either certificate is ours
        granted = read(answer, wanted, subject, own, (own.leaf.x5t, now_own.leaf.x5t), self._clock.now())  # 5
        if isinstance(granted, Deny):
            return granted
        if not granted.bound_to or granted.bound_to == own.leaf.x5t:
            self._kept.put(key, self._entry(granted, subject, epoch))
        return granted

    def _entry(self, granted: Granted, subject: Subject, epoch: int) -> _Kept:
        left = granted.expires_at - self._clock.now()
        # Where the subject token ends as well, asking anew would bring nothing.
        worthwhile = subject.expires_at - granted.expires_at > 2 * self._settings.margin
        ahead = self._clock.monotonic() + _AHEAD * left if worthwhile else _FOREVER
        return _Kept(granted, granted.expires_at - self._settings.margin, ahead, epoch)

    def _revoked(self, kept: _Kept, granted: Granted) -> bool:
        """Looked up whenever the epoch has moved; it is read first: a change in between is asked again."""
        epoch = self._revocations.epoch
        if epoch == kept.epoch:
            return False
        if not granted.token_id or self._revocations.token(  # an opaque token says too little to be looked up
            digest=granted.digest,
            jti=granted.token_id,
            sub=granted.subject,
            kid=granted.kid,
            issued_at=granted.issued_at,
        ):
            return True
        kept.epoch = epoch
        return False


def _key(token: str, own: Shown, wanted: Wanted) -> bytes:
    return hashlib.sha256(token.encode("ascii", "replace")).digest() + own.leaf.x5t.encode() + wanted.fingerprint


def _for(subject: Subject, answer: Granted | Deny) -> Granted | Deny:
    """The answer, where it is no more than `subject` may have."""
    return _TOO_MUCH if isinstance(answer, Granted) and not answer.fits(subject) else answer
