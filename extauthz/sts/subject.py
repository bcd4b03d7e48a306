"""Tokens that stand for somebody, from text to a value: whom, how long, through whose hands, derived from what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import spiffe
from extauthz.authn.claims import accept
from extauthz.authn.settings import IssuerSettings, TokenRule
from extauthz.model import Deny, Subject, deny
from extauthz.sts.opaque import is_opaque
from extauthz.sts.signed import OWN, OwnKeys, Proven, Signatures, digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from extauthz.authn.claims import Accepted
    from extauthz.clock import Clock
    from extauthz.keys.signer import TokenSigner
    from extauthz.sts.interfaces import Revocations
    from extauthz.sts.opaque import OpaqueTokens
    from extauthz.sts.settings import StsSettings
    from extauthz.sts.signed import Keys

ALGORITHMS: Final = ("ES256", "ES384", "RS256", "EdDSA")
"""What `keys` can sign with."""
ACCESS: Final = "at+jwt"
TRANSACTION: Final = "txntoken+jwt"
JWT_SVID: Final = frozenset({"jwt", "jose", "absent"})


@dataclass(frozen=True, slots=True)
class Held:
    """A valid token. `claims` are all of its claims, `subject` what they mean under the issuer's settings."""

    subject: Subject
    claims: Mapping[str, Any]
    id: str
    """Its `jti`, or `sha256:<hex>` of the token when it has none: what its descendants name as an ancestor."""
    own: bool
    knows_workloads: bool
    """Whether its issuer may speak of our workloads: we do, and issuers with `delegates`."""

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Of whatever is derived from this token: root first."""
        return (*self.subject.ancestors, self.id)


def own_issuer(settings: StsSettings) -> IssuerSettings:
    """How our own access tokens are read, by us and by any other extauthz (`issuers` of its configuration)."""
    return IssuerSettings.model_validate(
        {
            "name": OWN,
            "issuer": settings.issuer,
            "algorithms": ALGORITHMS,
            "jwks": {"url": f"{settings.issuer}/jwks.json"},
            "types": (ACCESS,),
            "max_lifetime": "1h",
            "claims": {name: name for name in settings.carried},
            "subject_type_claim": "subject_type",
        }
    )


class Tokens:
    """Our own tokens, and those of the subject issuers. `sources` has the keys of each subject issuer by its name."""

    def __init__(
        self,
        settings: StsSettings,
        signer: TokenSigner,
        opaque: OpaqueTokens,
        revocations: Revocations,
        clock: Clock,
        sources: Mapping[str, Keys],
    ) -> None:
        self._own = own_issuer(settings)
        self._opaque = opaque
        self._revocations = revocations
        self._clock = clock
        own = (self._own, OwnKeys(signer, ALGORITHMS))
        self._delegates = frozenset(entry.name for entry in settings.subject_issuers if entry.delegates)
        self._ours = Signatures([own])
        self._all = Signatures([*((entry, sources[entry.name]) for entry in settings.subject_issuers), own])

    async def hold(
        self, token: str, audiences: Collection[str], *, transaction: bool = False, own: bool = False
    ) -> Held | Deny:
        """Who a token stands for, when it is valid now and meant for one of `audiences`. Raises StoreError.

        `own`: only tokens of ours.

        1. one of ours that is opaque is looked up; every other one is proved by its issuer's signature
        2. it is of the kind that is expected: an access token, or one of our transaction tokens
        3. its claims: time, subject, audience, actors, ancestors (`authn.claims.accept`)
        4. what it was derived from, only our own tokens say; who acts, only those of issuers that may (`delegates`)
        5. neither it, its subject, its key nor an ancestor has been revoked, and no workload that it names: subject,
           client, actors, the certificate that it is bound to
        """
        proven = await self.prove(token, transaction=transaction, own=own)  # 1, 2
        if isinstance(proven, Deny):
            return proven
        rule = TokenRule(issuers=(proven.issuer.name,), audiences=tuple(sorted(audiences)))
        now = self._clock.now()
        accepted = accept(proven.claims, proven.typ, proven.issuer, rule, now, proven.digest)  # 3
        if isinstance(accepted, Deny):
            return accepted
        subject, ours = accepted.subject, proven.issuer.name == OWN
        knows_workloads = ours or proven.issuer.name in self._delegates
        if (subject.ancestors and not ours) or (subject.act and not knows_workloads):  # 4
            return deny("token.claims", "ancestors, or act, from an issuer that may not say so")
        if await self._revoked(proven, accepted):  # 5
            return deny("token.revoked")
        token_id = subject.token_id or f"sha256:{proven.digest}"
        return Held(subject, proven.claims, token_id, ours, knows_workloads)

    async def prove(self, token: str, *, transaction: bool = False, own: bool = False) -> Proven | Deny:
        """The claims of a token that we or, unless `own`, a subject issuer issued; it may have expired."""
        if is_opaque(token):
            claims = None if transaction else await self._opaque.find(token)
            if claims is None:
                return deny("token.inactive")
            return Proven(self._own, ACCESS, "", claims, digest(token))
        if transaction:
            return await self._ours.prove(token, {TRANSACTION})
        return await (self._ours if own else self._all).prove(token)

    async def _revoked(self, proven: Proven, accepted: Accepted) -> bool:
        subject, client = accepted.subject, proven.claims.get("client_id")
        if await self._revocations.revoked(
            digest=proven.digest,
            jti=subject.token_id,
            sub=subject.id,
            kid=proven.kid,
            issued_at=accepted.issued_at,
            ancestors=subject.ancestors,
        ):
            return True
        named = (subject.id, client if isinstance(client, str) else "", *subject.act)
        workloads = {name for name in named if spiffe.parse(name) is not None} or {""}
        for workload in workloads:
            if await self._revocations.workload_revoked(workload, accepted.bound_to.thumbprint):
                return True
        return False

    async def svid(self, token: str, spiffe_id: str, audience: str) -> Deny | None:
        """Whether `token` is this workload's own JWT-SVID for `audience`; None: it is (RFC 8693 section 2.1).

        JWT-SVIDs of our own authority only: the client has shown its certificate, so this adds nothing but agreement.
        """
        proven = await self._ours.prove(token, JWT_SVID, unnamed=self._own.issuer)
        if isinstance(proven, Deny):
            return proven
        claims, now = proven.claims, self._clock.now()
        expires = claims.get("exp")
        if type(expires) is not int or now >= expires:
            return deny("token.expired")
        named = claims.get("aud")
        if claims.get("sub") != spiffe_id or audience not in (named if isinstance(named, list) else [named]):
            return deny("token.audience", "not the client's own JWT-SVID for this server")
        return None
