"""Who calls: the workload behind a connection, judged on each request and not just in the handshake.

A connection may outlive the CA that it was made under, its certificate's life, and its workload's standing.

1. a certificate came
2. it is an X.509-SVID
3. of our own trust domain: nobody else's workloads are ours to renew or to give tokens to
4. valid now
5. signed by an authority that is trusted now
6. neither the workload, nor the certificate, nor one that it replaced has been revoked
"""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification

from extauthz.authn import spiffe, x509_svid
from extauthz.authority.refusal import refusal_of
from extauthz.ca import trust as bundles
from extauthz.keys import successor
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from extauthz.authority.refusal import Refusal
    from extauthz.authority.revocations import RevocationBook
    from extauthz.ca.trust import Trust
    from extauthz.clock import Clock


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified caller. `expires_at`: end of its certificate, seconds since the epoch."""

    spiffe_id: str
    x5t: str
    """`x5t#S256` of its certificate (RFC 8705 section 3.1)."""
    predecessors: tuple[str, ...]
    """The same of the certificates that it replaced."""
    expires_at: float
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Anchors:
    """The certificate authorities of the own trust domain, as of one trust sequence."""

    sequence: int
    authorities: tuple[x509.Certificate, ...]

    def trust(self, leaf: x509.Certificate, now: float) -> bool:
        """Whether one of them signed `leaf`, and all of it is valid at `now`; the leaf's profile is not judged here."""
        if not self.authorities:
            return False
        policy = (
            verification.PolicyBuilder()
            .store(verification.Store(list(self.authorities)))
            .time(dt.datetime.fromtimestamp(now, dt.UTC))
            .max_chain_depth(4)
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
        )
        try:
            policy.build_client_verifier().verify(leaf, [])
        except (verification.VerificationError, ValueError, UnsupportedAlgorithm):
            return False
        return True


class Peers:
    """`trust` is asked on each request; what it means is worked out once for each sequence."""

    def __init__(
        self, trust_domain: str, trust: Callable[[], Trust], revocations: RevocationBook, clock: Clock
    ) -> None:
        self._trust_domain = trust_domain
        self._trust = trust
        self._revocations = revocations
        self._clock = clock
        self._anchors = Anchors(-1, ())

    def anchors(self) -> Anchors:
        """Raises CaFault while the CA cannot say whom to trust."""
        trust = self._trust()
        if trust.sequence != self._anchors.sequence:
            document = orjson.dumps(trust.trust_domains[self._trust_domain])
            self._anchors = Anchors(trust.sequence, bundles.parse(document).authorities)
        return self._anchors

    async def verify(self, certificate: bytes) -> Peer | Refusal:
        """`certificate` is the DER of the handshake, empty when none came. Raises StoreError and CaFault."""
        peer = self.identify(certificate)
        if isinstance(peer, Peer) and await self._revoked(peer):  # 6
            return refusal_of(deny("workload.revoked", peer.spiffe_id))
        return peer

    async def succeeds_revoked(self, peer: Peer) -> bool:
        """Whether a certificate that this one replaced has been revoked. Raises StoreError."""
        return bool(peer.predecessors) and await self._revocations.workload_revoked("", "", peer.predecessors)

    async def _revoked(self, peer: Peer) -> bool:
        return await self._revocations.workload_revoked(peer.spiffe_id, peer.x5t, peer.predecessors)

    def identify(self, certificate: bytes) -> Peer | Refusal:
        """Steps 1 to 5. Raises CaFault."""
        if not certificate:
            return refusal_of(deny("transport.certificate_missing"))  # 1
        leaf = x509_svid.parse(quote(ssl.DER_cert_to_PEM_cert(certificate), safe=""))
        if isinstance(leaf, Deny):
            return refusal_of(leaf)
        if problem := self._problem(leaf):
            return refusal_of(problem)
        predecessors = successor.read(leaf.certificate).thumbprints
        return Peer(leaf.uri, leaf.x5t, predecessors, leaf.not_after, leaf.certificate)

    def _problem(self, leaf: x509_svid.Leaf) -> Deny | None:
        if leaf.profile_problem:  # 2
            return deny("transport.certificate_profile", leaf.profile_problem)
        parsed = spiffe.parse(leaf.uri)
        if parsed is None:
            return deny("workload.id_malformed")
        if parsed.trust_domain != self._trust_domain:  # 3
            return deny("workload.trust_domain", parsed.trust_domain)
        now = self._clock.now()
        if not leaf.not_before <= now <= leaf.not_after:  # 4
            return deny(f"transport.certificate_{'expired' if now > leaf.not_after else 'not_yet_valid'}", leaf.uri)
        if not self.anchors().trust(leaf.certificate, now):  # 5
            return deny("transport.certificate_untrusted", leaf.uri)
        return None
