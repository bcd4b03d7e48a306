"""What the authority answers, checked before it is used: an agent believes no more of it than it must."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification

from extauthz.workload_api import trust_bundle
from extauthz.workload_api.identity import Identity, IdentityError, parse_pem, svid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from extauthz.keys.signer import PrivateKey
    from extauthz.workload_api.identity import Svid, TrustBundle

MAX_DOMAINS: Final = 256


@dataclass(frozen=True, slots=True)
class Trust:
    """One version of the trust bundles, by trust domain."""

    sequence: int
    bundles: Mapping[str, TrustBundle]


def trust(answer: Any) -> Trust:
    """The answer of `/v1/trust`. Raises IdentityError."""
    sequence = answer.get("sequence") if isinstance(answer, dict) else None
    domains = answer.get("trust_domains") if isinstance(answer, dict) else None
    if isinstance(sequence, bool) or not isinstance(sequence, int) or sequence < 0:
        raise IdentityError("the trust answer has no sequence")
    if not isinstance(domains, dict) or not 0 < len(domains) <= MAX_DOMAINS:
        raise IdentityError("the trust answer names no trust domain, or too many")
    return Trust(sequence, {name: trust_bundle.parse(document) for name, document in domains.items()})


def grant(answer: Any, key: PrivateKey, trust_domain: str | None, now: float) -> Identity:
    """The answer of `/v1/attest` and `/v1/renew`. Raises IdentityError.

    1. its shape
    2. an X.509-SVID for the key that was made here
    3. the workload that the answer names, in the trust domain that the settings name
    4. trust bundles, that of the own domain among them
    5. the chain leads to that bundle: whoever trusts it will trust us
    6. our clock does not put its end into the past
    """
    fields = answer if isinstance(answer, dict) else {}
    named, chain = fields.get("spiffe_id"), fields.get("certificate_chain")
    if not isinstance(named, str) or not isinstance(chain, str):  # 1
        raise IdentityError("the answer has no spiffe_id or no certificate_chain")
    own = svid(parse_pem(chain.encode("utf-8", "replace")), key)  # 2
    if own.spiffe_id != named or trust_domain not in {None, own.trust_domain}:  # 3
        raise IdentityError("the certificate is for another workload or another trust domain")
    found = trust(fields.get("trust"))  # 4
    bundle = found.bundles.get(own.trust_domain)
    if bundle is None:  # 4
        raise IdentityError("the answer has no trust bundle for our own trust domain")
    if own.not_after <= now:  # 6
        raise IdentityError("the certificate has expired by our clock: set the clock right")
    if not leads_to(own, bundle.authorities, now):  # 5
        raise IdentityError("the certificate was not issued by the trust bundle that came with it")
    return Identity(own, found.bundles, found.sequence)


def leads_to(own: Svid, authorities: Sequence[x509.Certificate], now: float) -> bool:
    """Whether the chain is signed by one of `authorities`. Judged at a time when the leaf is valid: clocks differ."""
    if not authorities:
        return False
    ca = verification.ExtensionPolicy.webpki_defaults_ca()
    policy = verification.PolicyBuilder().store(verification.Store(list(authorities))).max_chain_depth(4)
    policy = policy.time(dt.datetime.fromtimestamp(max(now, own.not_before), dt.UTC))
    policy = policy.extension_policies(ca_policy=ca, ee_policy=verification.ExtensionPolicy.permit_all())
    try:
        policy.build_client_verifier().verify(own.chain[0], list(own.chain[1:]))
    except (verification.VerificationError, ValueError, UnsupportedAlgorithm):
        return False
    return True
