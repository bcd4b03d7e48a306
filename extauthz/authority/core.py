"""The parts that everything in the authority rests on, once they have been made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.attestation.entries import Entries
    from extauthz.attestation.registry import Attestors
    from extauthz.authority.audit import Audit
    from extauthz.authority.certificate import OwnCertificate
    from extauthz.authority.metrics import AuthorityMetrics
    from extauthz.authority.peers import Peers
    from extauthz.authority.revocations import RevocationBook
    from extauthz.authority.trail import RotationTrail
    from extauthz.ca.certificate_authority import CertificateAuthority
    from extauthz.store.store import Store


@dataclass(frozen=True, slots=True)
class Core:
    metrics: AuthorityMetrics
    audit: Audit
    store: Store
    trail: RotationTrail
    ca: CertificateAuthority
    attestors: Attestors
    entries: Entries
    revocations: RevocationBook
    peers: Peers
    certificate: OwnCertificate
