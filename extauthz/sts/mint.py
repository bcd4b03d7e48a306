"""From what was granted to a credential: a signed access token, an opaque one, or a transaction token.

No record, no credential: a token leaves this module only after its audit record has been kept.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.authn.jose import MAX_TOKEN
from extauthz.errors import ExtauthzError
from extauthz.sts.answers import ACCESS_TOKEN, TRANSACTION_TOKEN, Issued
from extauthz.sts.signed import digest
from extauthz.sts.subject import ACCESS, TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.keys.signer import TokenSigner
    from extauthz.sts.interfaces import Audit
    from extauthz.sts.opaque import OpaqueTokens
    from extauthz.sts.settings import StsSettings

_ID_BYTES: Final = 16
Kind = Literal["access_token", "transaction_token"]


class TooLarge(ExtauthzError):
    """What would have to be said does not fit into a token that anybody accepts."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What is about to be issued. `expires`: seconds since the epoch; `chain`: who acts, the current actor first."""

    subject: str
    subject_type: str
    client_id: str
    audience: str
    scopes: frozenset[str]
    purpose: str
    expires: int
    carried: Mapping[str, Any] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    ancestors: tuple[str, ...] = ()
    certificate_sha256: str = ""
    """What the token is bound to; empty: to nothing."""
    kind: Kind = "access_token"
    transaction: Mapping[str, Any] = field(default_factory=dict)
    """`txn`, `req_wl`, and where given `tctx` and `rctx`."""


def chained(actors: tuple[str, ...]) -> dict[str, Any]:
    """The `act` claim: the outermost is the current actor (RFC 8693 section 4.1)."""
    claim: dict[str, Any] = {}
    for actor in reversed(actors):
        claim = {"sub": actor} | ({"act": claim} if claim else {})
    return claim


class Mint:
    def __init__(
        self,
        settings: StsSettings,
        signer: TokenSigner,
        opaque: OpaqueTokens,
        audit: Audit,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._issuer = settings.issuer
        self._opaque_audiences = frozenset(settings.opaque_audiences)
        self._signer = signer
        self._opaque = opaque
        self._audit = audit
        self._clock = clock
        self._random = random

    def opaque_for(self, audience: str) -> bool:
        return audience in self._opaque_audiences

    def new_id(self) -> str:
        return base64.urlsafe_b64encode(self._random(_ID_BYTES)).rstrip(b"=").decode()

    async def issue(self, grant: Grant, event: str, facts: Mapping[str, Any]) -> Issued:
        """Raises ExtauthzError; then nothing has been given out.

        1. the token is made; no copy of it is kept but ours
        2. its record is written: who, for whom, what, until when, derived from what, under which policy
        3. an opaque token becomes valid
        """
        now = int(self._clock.now())
        claims = self._claims(grant, now)
        transaction = grant.kind == "transaction_token"
        opaque = not transaction and self.opaque_for(grant.audience)
        typ = TRANSACTION if transaction else ACCESS
        token = self._opaque.make() if opaque else self._signer.sign(claims, typ=typ)  # 1
        if len(token) > MAX_TOKEN:
            raise TooLarge("the token would be larger than anybody accepts")
        await self._audit.write(event, {**facts, **_record(grant, claims, token), "opaque": opaque})  # 2
        if opaque:
            await self._opaque.put(token, claims)  # 3
        return Issued(
            token,
            TRANSACTION_TOKEN if transaction else ACCESS_TOKEN,
            "N_A" if transaction else "Bearer",
            grant.expires - now,
            grant.scopes,
        )

    def _claims(self, grant: Grant, now: int) -> dict[str, Any]:
        """RFC 9068 section 2.2, RFC 8693 section 4, RFC 8705 section 3.1; `purpose`, `ancestors` and `subject_type`
        are ours."""
        claims: dict[str, Any] = {
            **grant.carried,
            "iss": self._issuer,
            "sub": grant.subject,
            "subject_type": grant.subject_type,
            "aud": grant.audience,
            "client_id": grant.client_id,
            "iat": now,
            "exp": grant.expires,
            "jti": self.new_id(),
        }
        optional = {
            "scope": " ".join(sorted(grant.scopes)),
            "purpose": grant.purpose,
            "act": chained(grant.chain),
            "ancestors": list(grant.ancestors),
            "cnf": {"x5t#S256": grant.certificate_sha256} if grant.certificate_sha256 else None,
            **grant.transaction,
        }
        return claims | {name: value for name, value in optional.items() if value}


def _record(grant: Grant, claims: Mapping[str, Any], token: str) -> dict[str, Any]:
    """What a record says of a token: everything but the token."""
    return {
        "client": grant.client_id,
        "subject": grant.subject,
        "subject_type": grant.subject_type,
        "audience": grant.audience,
        "scopes": sorted(grant.scopes),
        "purpose": grant.purpose,
        "kind": grant.kind,
        "actors": list(grant.chain),
        "jti": claims["jti"],
        "ancestors": list(grant.ancestors),
        "expires_at": grant.expires,
        "certificate_sha256": grant.certificate_sha256,
        "digest": digest(token)[:16],
    }
