"""What the token service has answered, held against what was asked of it.

It is our own authority, over mTLS, and still: a mistake there must not widen anything here. The signature is not
looked at, the upstream will; `claims` of the token are the authority's words because the connection is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import binding, jose
from extauthz.authn.extract import AUTHORIZATION, TXN_TOKEN
from extauthz.model import Deny, deny
from extauthz.telemetry.trail import ExchangeFacts

if TYPE_CHECKING:
    from collections.abc import Collection

    from extauthz.check.exchange import Wanted
    from extauthz.check.own_identity import Shown
    from extauthz.model import Subject
    from extauthz.sts.answers import Issued

_PURPOSES: Final = ("purpose", "purp")


@dataclass(frozen=True, repr=False)
class Granted:
    """A token for the upstream, as the header that carries it, and what a record may say of it."""

    header: tuple[str, str]
    audience: str
    actor: str
    expires_at: float
    """Seconds since the epoch; never after the subject token's."""
    digest: str
    """SHA-256 of the token, lower-case hex."""
    subject: str
    scopes: frozenset[str] = frozenset()
    purpose: str = ""
    token_id: str = ""
    """Its `jti`; empty for an opaque token."""
    kid: str = ""
    issued_at: float = 0.0
    bound_to: str = ""

    def fits(self, subject: Subject) -> bool:
        """Whether it is no more than `subject` may have. Where its issuer is asked as well, a route may know that the
        subject token is good for less than another route believes; both share one exchanged token."""
        return (
            self.subject == subject.id
            and self.expires_at <= subject.expires_at
            and self.scopes.issubset(subject.scopes)
        )

    @cached_property
    def facts(self) -> ExchangeFacts:
        return ExchangeFacts(self.audience, self.actor, self.purpose, self.digest[:16], self.token_id)


def read(  # noqa: PLR0911 - one return a refusal, numbered
    issued: Issued, wanted: Wanted, subject: Subject, own: Shown, certificates: Collection[str], now: float
) -> Granted | Deny:
    """The answer, or `engine.exchange_unavailable` when it is not what was asked for.

    1. it ends no later than the subject token, and not yet
    2. a JWT has the form of one
    3. it is for the audience and the subject that were asked, and its scopes and purpose are no wider; its scopes are
       also the subject token's, as far as this Check knows it
    4. it is bound to one of `certificates`, ours, or to none
    """
    token = issued.token
    expires_at = min(now + issued.expires_in, subject.expires_at)  # 1
    if expires_at <= now:  # 1
        return _unusable("a token that has ended")
    plain = wanted.kind == "access_token"
    header = (AUTHORIZATION, f"Bearer {token}") if plain else (TXN_TOKEN, token)
    digest = hashlib.sha256(token.encode()).hexdigest()
    may = subject.scopes.intersection(wanted.scopes) if wanted.scopes else subject.scopes
    if token.count(".") != 2:  # noqa: PLR2004 - a JWT has three parts; what is opaque we cannot read
        scopes = issued.scopes or may
        if not scopes <= may:  # 3
            return _unusable("a token with more scopes")
        actor = own.svid.spiffe_id
        return Granted(header, wanted.audience, actor, expires_at, digest, subject.id, scopes, wanted.purpose)
    parsed = jose.parse(token)  # 2
    if isinstance(parsed, Deny):
        return _unusable("a malformed token")
    claims = parsed.claims
    problem = _wider(claims, wanted, subject, may)  # 1, 3
    if problem:
        return _unusable(problem)
    bound = binding.bound(claims)
    if isinstance(bound, Deny) or (bound.thumbprint and bound.thumbprint not in certificates):  # 4
        return _unusable("a token that is bound to somebody else")
    token_id, issued_at = claims.get("jti") or claims.get("txn"), claims.get("iat")
    return Granted(
        header=header,
        audience=wanted.audience,
        actor=own.svid.spiffe_id,
        expires_at=expires_at,
        digest=digest,
        subject=subject.id,
        scopes=frozenset(claims.get("scope", "").split()),
        purpose=_purpose(claims) or "",
        token_id=token_id if isinstance(token_id, str) else "",
        kid=parsed.header.kid or "",
        issued_at=float(issued_at) if type(issued_at) is int else 0.0,
        bound_to=bound.thumbprint,
    )


def _wider(claims: dict[str, Any], wanted: Wanted, subject: Subject, may: frozenset[str]) -> str:
    """In what the token is more than was asked for; empty when in nothing. `may`: scopes that it may have."""
    audience, scope, end = claims.get("aud"), claims.get("scope", ""), claims.get("exp")
    if audience not in (wanted.audience, [wanted.audience]):
        return "a token for another audience"
    if claims.get("sub") != subject.id:
        return "a token of another subject"
    if not isinstance(scope, str) or not may.issuperset(scope.split()):
        return "a token with more scopes"
    if type(end) is not int or end > subject.expires_at:
        return "a token that outlives the one that came"
    if wanted.purpose and _purpose(claims) != wanted.purpose:
        return "a token for another purpose"
    return ""


def _purpose(claims: dict[str, Any]) -> str | None:
    found = next((claims[name] for name in _PURPOSES if name in claims), None)
    return found if isinstance(found, str) else None


def _unusable(what: str) -> Deny:
    return deny("engine.exchange_unavailable", f"the token service answered with {what}")
