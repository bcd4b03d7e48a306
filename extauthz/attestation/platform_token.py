"""A JWT that a platform gave a workload, verified by the very machinery that verifies access tokens.

1. its form, before any library sees it (`authn.jose`); the evidence is named by SHA-256 of what is signed, because one
   content may have several ECDSA signatures
2. issuer, algorithm, key of that issuer alone, signature, times, audience (`authn.tokens`)
3. it was issued not longer ago than the settings let it
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.attestation.refusal import Refused
from extauthz.authn import jose
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import RevocationSettings, TokenRule, VerifierSettings
from extauthz.authn.tokens import TokenVerifier
from extauthz.model import Deny
from extauthz.outbound import Outbound

if TYPE_CHECKING:
    import httpx

    from extauthz.attestation.settings import KubernetesSettings, OidcSettings
    from extauthz.clock import Clock
    from extauthz.model import Subject

_CODES: Final = {
    "token.issuer": "attestation.issuer",
    "token.audience": "attestation.audience",
    "token.expired": "attestation.expired",
    "token.not_yet_valid": "attestation.not_yet_valid",
    "token.lifetime": "attestation.too_old",
    "token.algorithm": "attestation.signature",
    "token.key_unknown": "attestation.signature",
    "token.key_refused": "attestation.signature",
    "token.signature": "attestation.signature",
    "token.keys_unavailable": "attestation.unavailable",
    "token.claims": "attestation.claims",
}
"""What the verifier says, in our words; whatever is not listed is malformed."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """`evidence_id`: hex. `expires_at`: seconds since the epoch, the leeway included."""

    subject: Subject
    evidence_id: str
    expires_at: float


class PlatformTokens:
    """One issuer's tokens. Raises ConfigError for a file that cannot be used."""

    def __init__(
        self,
        settings: KubernetesSettings | OidcSettings,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        issuer = settings.token_issuer
        self._settings = settings
        self._clock = clock
        self._outbound = Outbound(issuer.outbound_urls, verify=settings.outbound.verify(), transport=transport)
        self._keys = KeyStore([issuer], self._outbound, clock)
        self._rule = TokenRule(issuers=(issuer.name,), audiences=settings.audiences)
        nothing = Revocations(RevocationSettings())
        self._verifier = TokenVerifier([issuer], self._keys, nothing, clock, VerifierSettings(cache_entries=16))

    async def verify(self, evidence: str) -> Vouched | Refused:
        unverified = jose.parse(evidence)  # 1
        if isinstance(unverified, Deny):
            return _refused(unverified)
        verified = await self._verifier.verify(evidence, self._rule, None)  # 2
        if isinstance(verified, Deny):
            return _refused(verified)
        subject, settings = verified.subject, self._settings
        age = self._clock.now() - subject.claims["iat"]
        if age > settings.max_age + settings.leeway:  # 3
            return Refused("attestation.too_old", f"{age:.0f} s")
        evidence_id = hashlib.sha256(unverified.signed).hexdigest()
        return Vouched(subject, evidence_id, subject.expires_at + settings.leeway)

    def start(self) -> None:
        self._keys.start()

    async def close(self) -> None:
        await self._keys.close()
        await self._outbound.close()


def _refused(denied: Deny) -> Refused:
    reason = denied.reasons[0]
    return Refused(_CODES.get(reason.code, "attestation.malformed"), f"{reason.code} {reason.detail}".strip())
