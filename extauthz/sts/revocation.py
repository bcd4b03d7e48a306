"""Revocation of a token by one of those who hold it (RFC 7009), with everything that was derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.bucket import Bucket
from extauthz.lru import SegmentedLru
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
BURST: Final = 1000.0
"""Revocations that one workload may order at once …"""
PER_SECOND: Final = 10.0
"""… and from then on: below what would fill the log (`store.revocations.MAX_ENTRIES`) while its tokens live."""
_WORKLOADS: Final = 4096


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
        self._buckets: SegmentedLru[str, Bucket] = SegmentedLru(_WORKLOADS)
        """Workload → orders that it has left, as of when (monotonic)."""

    async def revoke(self, client: Client, form: Form) -> Refused | None:
        """None: it does not work any more, or never did (RFC 7009 section 2.2). Raises ExtauthzError.

        1. one token; the hint is not needed
        2. a token that nobody we know has issued is no token; it may be expired
        3. the client holds it: it is meant for the client, or was issued to it, or to be acted with by it
        4. revoked by its id, which its descendants name as their ancestor, and by its digest; what is revoked already
           is not written again, and nobody writes without end: a log that is too long would stop its readers
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
        names: dict[Literal["jti", "token"], str] = {"jti": token_id, "token": proven.digest}
        missing = [kind for kind, value in names.items() if not await self._known(kind, value)]  # 4
        if missing and not self._may_write(client.spiffe_id):  # 4
            return Refused("temporarily_unavailable", "too many revocations; retry later", "revocation.rate")
        for kind in missing:  # 4
            await self._revocations.revoke(kind, names[kind], until=until, reason="revoked by its holder")
        if is_opaque(token):
            await self._opaque.forget(token)  # 5
        await self._audit.write(  # 6
            "revocation.added",
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

    async def _known(self, kind: Literal["jti", "token"], value: str) -> bool:
        """Whether the log says so already. Of a token's revocation only that entry counts, not its subject's or key's:
        those end at other times."""
        jti, digest = (value, "") if kind == "jti" else ("", value)
        return await self._revocations.revoked(digest=digest, jti=jti, sub="", kid="", issued_at=0.0, ancestors=())

    def _may_write(self, workload: str) -> bool:
        """Takes one order out of the workload's bucket, when there is one."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(workload)
        if bucket is None:
            bucket = Bucket(BURST, now)
            self._buckets.put(workload, bucket)
        return bucket.take(now, BURST, PER_SECOND) == 0.0

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
