"""What a workload asks the authority for: an identity, its renewal, a JWT-SVID. Transport-free: values in, values out.

No record, no credential: what is issued leaves only after its audit record has been written.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.attestation.attestor import Attested
from extauthz.attestation.refusal import Refused
from extauthz.authority import instances
from extauthz.authority.refusal import Refusal, refusal, refusal_of
from extauthz.bucket import Bucket
from extauthz.ca import csr as requests
from extauthz.ca.certificate_authority import MAX_AUDIENCE, MAX_AUDIENCES, Issued, JwtSvid, Spec
from extauthz.model import Deny, deny
from extauthz.sts.interfaces import Client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from extauthz.attestation.entries import Entries, Registration
    from extauthz.attestation.registry import Attestors
    from extauthz.authority.audit import Audit
    from extauthz.authority.instances import Instances
    from extauthz.authority.metrics import AuthorityMetrics
    from extauthz.authority.peers import Peer
    from extauthz.authority.revocations import RevocationBook
    from extauthz.ca.certificate_authority import CertificateAuthority
    from extauthz.clock import Clock

_AUDIENCE: Final = re.compile(rf"[!-~]{{1,{MAX_AUDIENCE}}}")
STRANGERS: Final = 100
"""Refusals of strangers that are recorded at once …"""
STRANGERS_PER_SECOND: Final = 5.0
"""… and from then on: whoever can connect must not fill the disk."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An X.509-SVID, and whom its holder is to trust from now on (`ca.Trust`)."""

    issued: Issued
    trust: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        return {
            "spiffe_id": self.issued.spiffe_id,
            "certificate_chain": self.issued.chain,
            "expires_at": int(self.issued.expires_at),
            "trust": dict(self.trust),
        }


@dataclass(frozen=True, slots=True)
class _From:
    """What a new certificate takes the place of: `replaced` by `x5t#S256`; `renewed`: the one that authenticated it."""

    instance: str
    replaced: tuple[str, ...]
    renewed: x509.Certificate | None = None


class Workloads:
    """`own` is the authority's SPIFFE ID, which nobody else is given. Everything raises ExtauthzError when it cannot
    be asked, issued or recorded: nothing was given out then."""

    def __init__(
        self,
        own: str,
        *,
        ca: CertificateAuthority,
        attestors: Attestors,
        entries: Entries,
        revocations: RevocationBook,
        instances: Instances,
        audit: Audit,
        metrics: AuthorityMetrics,
        clock: Clock,
    ) -> None:
        self._own = own
        self._ca = ca
        self._attestors = attestors
        self._entries = entries
        self._revocations = revocations
        self._instances = instances
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._strangers = Bucket(float(STRANGERS), clock.monotonic())

    async def attest(self, attestor: str, evidence: str, csr: str) -> Identity | Refusal:
        """An identity for a newcomer.

        1. the certificate request is good: judged first, because evidence may serve only once
        2. the evidence is good
        3. one registration entry fits, and does not give out our own name
        4. the workload has not been revoked
        5. the certificate is made; it continues what the very same instance has held (`instances`)
        6. both are recorded
        """
        facts: dict[str, Any] = {"attestor": attestor}
        key = requests.public_key(csr)
        if isinstance(key, Deny):  # 1
            return await self._refused_stranger(refusal_of(key), facts)
        attested = await self._attestors.attest(attestor, evidence)
        if not isinstance(attested, Attested):  # 2
            return await self._refused_stranger(refusal_of(attested), facts)
        facts |= {"selectors": sorted(attested.selectors), "evidence": attested.evidence_id}
        registration = self._registered(self._entries.match(attested))
        if isinstance(registration, Refusal):  # 3
            return await self._refused_stranger(registration, facts)
        if await self._revocations.workload_revoked(registration.spiffe_id):  # 4
            facts |= {"spiffe_id": registration.spiffe_id}
            return await self._refused_stranger(refusal_of(deny("workload.revoked")), facts)
        instance = instances.name(attested, registration.spiffe_id)
        held = await self._instances.held(instance)  # 5
        facts |= {"instance": attested.instance, "continues": held}
        return await self._certify(registration, csr, "identity.issued", facts, _From(instance, held))  # 5, 6

    async def renew(self, peer: Peer, csr: str) -> Identity | Refusal:
        """The same identity for a new key.

        1. the workload is still registered under the SPIFFE ID of the certificate that it shows
        2. a new certificate with that ID and no other, which names the old one as its predecessor
        3. both are recorded
        """
        facts: dict[str, Any] = {"replaces": peer.x5t}
        registration = self._registered(self._entries.of(peer.spiffe_id))
        if isinstance(registration, Refusal):  # 1
            return await self._refused(registration, {**facts, "spiffe_id": peer.spiffe_id})
        instance = await self._instances.of(peer.x5t)
        came = _From(instance, (peer.x5t,), peer.certificate)
        return await self._certify(registration, csr, "identity.renewed", facts, came)  # 2, 3

    async def jwt_svid(self, peer: Peer, audience: list[str]) -> JwtSvid | Refusal:
        """1. still registered; 2. plain audiences; 3. made, for at most the entry's `jwt_ttl`; 4. recorded."""
        facts: dict[str, Any] = {"spiffe_id": peer.spiffe_id, "certificate": peer.x5t}
        registration = self._registered(self._entries.of(peer.spiffe_id))
        if isinstance(registration, Refusal):  # 1
            return await self._refused(registration, facts)
        if not 0 < len(audience) <= MAX_AUDIENCES or not all(map(_AUDIENCE.fullmatch, audience)):  # 2
            return await self._refused(refusal("authority.audience"), facts)
        made = await self._ca.jwt_svid(peer.spiffe_id, audience, registration.entry.jwt_ttl)  # 3
        digest = hashlib.sha256(made.token.encode()).hexdigest()
        facts |= {"audience": audience, "expires_at": made.expires_at, "token_sha256": digest}
        await self._audit.write("identity.issued", {**facts, "kind": "jwt_svid"})  # 4
        return made

    def client(self, peer: Peer) -> Client | None:
        """The registered workload as the token service knows it; None: its registration is gone."""
        registration = self._registered(self._entries.of(peer.spiffe_id))
        if isinstance(registration, Refusal):
            return None
        entry = registration.entry
        return Client(
            spiffe_id=peer.spiffe_id,
            certificate_sha256=peer.x5t,
            audiences=frozenset(entry.audiences),
            exchange_to=frozenset(entry.exchange_to),
            tenant=entry.tenant,
            environment=entry.environment,
            scopes=frozenset(entry.scopes),
            purposes=frozenset(entry.purposes),
        )

    async def refused_peer(self, found: Refusal) -> Refusal:
        """A caller whose certificate is no good is a stranger."""
        return await self._refused_stranger(found, {}, "caller.refused")

    def _registered(self, found: Registration | Refused) -> Registration | Refusal:
        if isinstance(found, Refused):
            return refusal_of(found)
        if found.spiffe_id == self._own:
            return refusal_of(deny("workload.unregistered", "an entry gives out the authority's own SPIFFE ID"))
        return found

    async def _certify(
        self,
        registration: Registration,
        csr: str,
        event: str,
        facts: dict[str, Any],
        came: _From,
    ) -> Identity | Refusal:
        entry = registration.entry
        facts |= {"spiffe_id": registration.spiffe_id, "entry": entry.name}
        continues = instances.digests(came.replaced) if came.renewed is None else ()
        spec = Spec(registration.spiffe_id, entry.dns_names, entry.svid_ttl, came.renewed, continues)
        issued = await self._ca.x509(csr, spec)
        if isinstance(issued, Deny):
            return await self._refused(refusal_of(issued), facts)
        facts |= {
            "certificate": issued.x5t,
            "serial": issued.serial,
            "authority": issued.authority,
            "expires_at": int(issued.expires_at),
        }
        await self._instances.record(came.instance, issued.x5t, issued.expires_at, came.replaced)
        await self._audit.write(event, {**facts, "kind": "x509_svid"})
        return Identity(issued, self._ca.trust().as_json())

    async def _refused(self, found: Refusal, facts: Mapping[str, Any], event: str = "identity.refused") -> Refusal:
        await self._audit.write(event, {**facts, "code": found.code, "detail": found.detail[:1024]})
        return found

    async def _refused_stranger(
        self, found: Refusal, facts: Mapping[str, Any], event: str = "identity.refused"
    ) -> Refusal:
        if self._strangers.take(self._clock.monotonic(), float(STRANGERS), STRANGERS_PER_SECOND):
            self._metrics.refused(found.code)
            self._metrics.unrecorded()
            return found
        return await self._refused(found, facts, event)
