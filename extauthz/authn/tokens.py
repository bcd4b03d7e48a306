"""Access tokens: from a string to a subject, once, and from a cache after that.

The cache is keyed by SHA-256 of the token and the route's rule, and an entry lives as long as the very key set that
verified it. What can change while a token lives is asked on every hit (`held.judge`).
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.authn import jose
from extauthz.authn.claims import accept
from extauthz.authn.held import EXPIRED, Held, Verified, judge
from extauthz.authn.settings import VerifierSettings
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, Workload, deny

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.authn.jwk import Key
    from extauthz.authn.jwks import KeySet
    from extauthz.authn.keys import KeySource, KeyStore
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.settings import IssuerSettings, TokenRule
    from extauthz.clock import Clock

__all__ = ["TokenVerifier", "Verified"]

_FORGED: Final = deny("token.signature")
_ORDERS: Final = {
    "ES256": ec.SECP256R1.group_order,
    "ES384": ec.SECP384R1.group_order,
    "ES512": ec.SECP521R1.group_order,
}


@dataclass(slots=True, eq=False)
class _Good(Held):
    """A verified token, with what verified it."""

    source: KeySource
    keys: KeySet


@dataclass(frozen=True, slots=True)
class _Forged:
    """A token whose signature is wrong under `keys`; remembered until `until` (monotonic). Nothing else is: a wrong
    form costs less to find than to remember, and every other refusal can change with time or settings."""

    source: KeySource
    keys: KeySet
    until: float


class TokenVerifier:
    """Raises ConfigError when made with two issuers of one name or of one `iss`."""

    __slots__ = ("_by_iss", "_clock", "_forged", "_good", "_revocations", "_settings")

    def __init__(
        self,
        issuers: Iterable[IssuerSettings],
        keys: KeyStore,
        revocations: Revocations,
        clock: Clock,
        settings: VerifierSettings | None = None,
    ) -> None:
        self._settings = settings or VerifierSettings()
        self._clock = clock
        self._revocations = revocations
        self._by_iss: dict[str, tuple[IssuerSettings, KeySource]] = {}
        names = set()
        for issuer in issuers:
            if issuer.issuer in self._by_iss or issuer.name in names:
                raise ConfigError(
                    (ConfigProblem("", 0, "issuers", f"{issuer.name!r} is listed twice", "one entry an issuer"),)
                )
            names.add(issuer.name)
            self._by_iss[issuer.issuer] = (issuer, keys.source(issuer.name))
        self._good: SegmentedLru[bytes, _Good] = SegmentedLru(self._settings.cache_entries)
        # Apart from the good ones: no amount of garbage can push a good entry out.
        self._forged: SegmentedLru[bytes, _Forged] = SegmentedLru(self._settings.refused_entries)

    @property
    def entries(self) -> int:
        """Verified tokens that are kept now."""
        return len(self._good)

    def cached(self, token: str, rule: TokenRule, workload: Workload | None) -> Verified | Deny | None:
        """What is known of this token under this rule, without suspending; None: ask `verify`.

        1. the entry was made under the issuer's keys that are in force now
        2. time, revocation, binding and sign-in are asked again (`held.judge`)
        """
        return self._known(digest(token) + rule.fingerprint, rule, workload)

    def _known(self, key: bytes, rule: TokenRule, workload: Workload | None) -> Verified | Deny | None:
        good = self._good.get(key)
        if good is None:
            return self._known_forgery(key)
        if good.source.current() is not good.keys:  # 1
            self._good.discard(key)
            return None
        refused = judge(good, rule, workload, self._clock.now(), self._revocations)  # 2
        if refused is EXPIRED:
            self._good.discard(key)
        return refused or good.hit

    async def verify(  # noqa: PLR0911 - one return a refusal, numbered
        self, token: str, rule: TokenRule, workload: Workload | None
    ) -> Verified | Deny:
        """Who the token speaks for, or why it is refused. Suspends only while the issuer's keys are fetched.

        1. what is cached needs no second look
        2. the form is that of a signed JWT, nothing else (`jose.parse`)
        3. the issuer is configured, and the route names it
        4. the issuer may use this algorithm, and the route accepts this type of token
        5. the key comes from this issuer's set alone; an unknown kid may cause one refresh, behind its cool-down
        6. the signature is right: from here on the claims are the issuer's words
        7. claims: time, subject, audience, scopes, purpose (`claims.accept`)
        8. what is asked on every use: revocation, binding, sign-in (`held.judge`)
        """
        hashed = digest(token)
        known = self._known(hashed + rule.fingerprint, rule, workload)  # 1
        if known is not None:
            return known
        unverified = jose.parse(token)  # 2
        if isinstance(unverified, Deny):
            return unverified
        issuer, source = self._by_iss.get(unverified.issuer, (None, None))
        if issuer is None or source is None or issuer.name not in rule.issuers:  # 3
            return deny("token.issuer")
        if unverified.header.alg not in issuer.algorithms:  # 4
            return deny("token.algorithm", unverified.header.alg)
        if unverified.header.typ not in (rule.types or issuer.types):  # 4
            return deny("token.type")
        waited = 0.0
        found = _find(source, unverified.header)  # 5
        if found is None:
            started = self._clock.monotonic()
            found = await self._fetched(source, unverified.header)  # 5
            waited = self._clock.monotonic() - started
        if isinstance(found, Deny):
            return found
        return await self._judge(_Case(hashed, rule, issuer, source, unverified, *found, waited), workload)

    async def _judge(self, case: _Case, workload: Workload | None) -> Verified | Deny:
        cache_key = case.digest + case.rule.fingerprint
        if not await self._signed(case):  # 6
            until = self._clock.monotonic() + self._settings.refused_ttl
            self._forged.put(cache_key, _Forged(case.source, case.keys, until))
            return _FORGED
        token, header = case.unverified, case.unverified.header
        now = self._clock.now()
        hashed = case.digest.hex()
        accepted = accept(token.claims, header.typ, case.issuer, case.rule, now, hashed)  # 7
        if isinstance(accepted, Deny):
            return accepted
        good = _Good(
            hit=Verified(accepted.subject, cached=True, accepted=accepted),
            accepted=accepted,
            digest=hashed,
            kid=header.kid or "",
            epoch=-1,
            source=case.source,
            keys=case.keys,
            twin=twin(token, header.alg),
        )
        refused = judge(good, case.rule, workload, now, self._revocations)  # 8
        if good.epoch >= 0:  # not revoked: the rest is asked again on each hit
            self._good.put(cache_key, good)
        fresh = Verified(accepted.subject, cached=False, accepted=accepted, upstream_seconds=case.waited)
        return refused or fresh

    async def _signed(self, case: _Case) -> bool:
        token = case.unverified
        if self._settings.offload:
            return await asyncio.to_thread(case.key.verifies, token.header.alg, token.signature, token.signed)
        return case.key.verifies(token.header.alg, token.signature, token.signed)

    @staticmethod
    async def _fetched(source: KeySource, header: jose.Header) -> tuple[KeySet, Key] | Deny:
        """The key after at most one refresh; the refresh's own failure is not the caller's to see."""
        await source.refresh()
        found = _find(source, header)
        if found is not None:
            return found
        return deny("token.keys_unavailable" if source.current() is None else "token.key_unknown")

    def _known_forgery(self, key: bytes) -> Deny | None:
        forged = self._forged.get(key)
        if forged is None:
            return None
        if forged.source.current() is forged.keys and self._clock.monotonic() < forged.until:
            return _FORGED
        self._forged.discard(key)
        return None


@dataclass(frozen=True, slots=True)
class _Case:
    """A well-formed token with the key that must have signed it."""

    digest: bytes
    rule: TokenRule
    issuer: IssuerSettings
    source: KeySource
    unverified: jose.Unverified
    keys: KeySet
    key: Key
    waited: float


def digest(token: str) -> bytes:
    """SHA-256 of a token."""
    # Tokens that are not ASCII never verify, so that two of them may share a digest does no harm.
    return hashlib.sha256(token.encode("ascii", "replace")).digest()


def twin(token: jose.Unverified, algorithm: str) -> str:
    """Hex SHA-256 of the same token with its other signature; empty where an algorithm has one alone.

    With ECDSA, who has seen the signature (r, s) knows (r, n - s), which is good as well (SEC 1 section 4.1.4): a token
    that was revoked by its digest must not come back in other letters.
    """
    order = _ORDERS.get(algorithm)
    if order is None:
        return ""
    size = len(token.signature) // 2
    other = token.signature[:size] + (order - int.from_bytes(token.signature[size:])).to_bytes(size)
    return hashlib.sha256(token.signed + b"." + urlsafe_b64encode(other).rstrip(b"=")).hexdigest()


def _find(source: KeySource, header: jose.Header) -> tuple[KeySet, Key] | Deny | None:
    """The key that the header names in this issuer's set, with the set; None when a refresh might bring it."""
    keys = source.current()
    if keys is None:
        return None
    if header.kid in keys.refused:
        return deny("token.key_refused")
    key = keys.find(header.kid, header.alg)
    if key is None:
        # Several keys and no kid: no refresh makes that less ambiguous.
        return deny("token.key_unknown", "the token names no key") if header.kid is None and keys.keys else None
    return (keys, key) if header.alg in key.checks else deny("token.algorithm", "not this key's")
