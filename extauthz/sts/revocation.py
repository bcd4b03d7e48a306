"""Revocation of a token by one of those who hold it (RFC 7009), with everything that was derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz.model import Deny
from extauthz.sts.answers import Refused
from extauthz.sts.form import one
from extauthz.sts.opaque import is_opaque

if TYPE_CHECKING:
    from extauthz.clock import Clock
    from extauthz.sts.form import Form
    from extauthz.sts.interfaces import Audit, Client, Revocations
    from extauthz.sts.opaque import OpaqueTokens
    from extauthz.sts.settings import StsSettings
    from extauthz.sts.signed import Proven
    from extauthz.sts.subject import Tokens

SKEW: Final = 600.0
"""Seconds for which a revocation outlives the token: twice the largest leeway that a server may be given."""
MAX_ID: Final = 512


class Revoker:
    def __init__(
        self,
        settings: StsSettings,
        tokens: Tokens,
        opaque: OpaqueTokens,
        revocations: Revocations,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._longest = settings.longest
        self._tokens = tokens
        self._opaque = opaque
        self._revocations = revocations
        self._audit = audit
        self._clock = clock

    async def revoke(self, client: Client, form: Form) -> Refused | None:
        """None: it does not work any more, or never did (RFC 7009 section 2.2). Raises ExtauthzError.

        1. one token; the hint is not needed
        2. a token that nobody we know has issued is no token; it may be expired
        3. the client holds it: it is meant for the client, or was issued to it, or to be acted with by it
        4. revoked by its id, which its descendants name as their ancestor, and by its digest
        5. an opaque one is forgotten
        6. the record; where it fails, the client asks again
        """
        token = one(form, "token")
        if not token:  # 1
            return Refused("invalid_request", "token is missing", "revocation.request")
        proven = await self._tokens.prove(token)  # 2
        if isinstance(proven, Deny):
            if proven.code == "token.keys_unavailable":
                return Refused("temporarily_unavailable", "the issuer's keys cannot be had", proven.code)
            return None
        if not client.names & _holders(proven.claims):  # 3
            return Refused("unauthorized_client", "the token is not this workload's to revoke", "revocation.client")
        until = self._until(proven)
        jti = proven.claims.get("jti")
        token_id = jti if isinstance(jti, str) and 0 < len(jti) <= MAX_ID else f"sha256:{proven.digest}"
        await self._revocations.revoke("jti", token_id, until=until, reason="revoked by its holder")  # 4
        await self._revocations.revoke("token", proven.digest, until=until, reason="revoked by its holder")  # 4
        if is_opaque(token):
            await self._opaque.forget(token)  # 5
        await self._audit.write(  # 6
            "token.revoked",
            {
                "client": client.spiffe_id,
                "subject": proven.claims.get("sub"),
                "issuer": proven.issuer.issuer,
                "jti": token_id,
                "digest": proven.digest[:16],
                "until": until,
            },
        )
        return None

    def _until(self, proven: Proven) -> float:
        """Until no server takes the token, or anything derived from it, for its time alone."""
        expires, now = proven.claims.get("exp"), self._clock.now()
        longest = now + self._longest
        return min(longest, expires + SKEW) if type(expires) is int else longest


def _holders(claims: dict[str, Any]) -> frozenset[str]:
    """Audience, subject, client and actors of a proven token."""
    audience = claims.get("aud")
    found = [*(audience if isinstance(audience, list) else [audience]), claims.get("client_id"), claims.get("sub")]
    act = claims.get("act")
    while isinstance(act, dict):
        found.append(act.get("sub"))
        act = act.get("act")
    return frozenset(name for name in found if isinstance(name, str))
