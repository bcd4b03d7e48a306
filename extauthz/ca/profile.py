"""The two certificates that we sign: an X.509-SVID and its CA (X509-SVID sections 2 to 4, RFC 5280).

Signing may block (an HSM, RSA); everything else here takes well below a millisecond.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extauthz.authn import spiffe
from extauthz.ca.fault import CaFault
from extauthz.keys import successor
from extauthz.keys.algorithms import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.ca.csr import PublicKey
    from extauthz.keys.signer import SigningKey

BACKDATED: Final = 60.0
"""Seconds that a certificate is valid before it was issued: for clocks that are behind ours."""
MAX_DNS_NAMES: Final = 32
_DNS: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_BOTH: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_NO_USAGE: Final = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True, slots=True)
class Names:
    """What a leaf certifies, as the registration entry says."""

    spiffe_id: str
    dns_names: tuple[str, ...] = ()


def check_names(names: Names, trust_domain: str) -> None:
    """Raises CaFault where an entry asks for what this CA must not certify."""
    spiffe_id = spiffe.parse(names.spiffe_id)
    if spiffe_id is None or spiffe_id.trust_domain != trust_domain:
        raise CaFault("the entry's SPIFFE ID is not one of this trust domain")
    if len(names.dns_names) > MAX_DNS_NAMES or not all(map(_DNS.fullmatch, names.dns_names)):
        raise CaFault("the entry's DNS names are too many, or not plain lower-case host names")


def svid(
    key: PublicKey,
    names: Names,
    issuer: x509.Certificate,
    signer: SigningKey,
    *,
    now: float,
    ttl: float,
    predecessors: Sequence[bytes] = (),
) -> x509.Certificate:
    """A leaf that is valid from BACKDATED before `now` to `ttl` seconds after it, never beyond its issuer.

    `names` have been checked. Raises CaFault when the issuer is not valid now, or the key does not sign.
    """
    end = min(now + ttl, issuer.not_valid_after_utc.timestamp())
    if end <= now or now < issuer.not_valid_before_utc.timestamp():
        raise CaFault("the CA certificate is not valid at this time")
    start = max(now - BACKDATED, issuer.not_valid_before_utc.timestamp())
    san = [x509.UniformResourceIdentifier(names.spiffe_id), *map(x509.DNSName, names.dns_names)]
    builder = (
        _builder(key, x509.Name([]), issuer.subject, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_BOTH), critical=False)
        .add_extension(x509.SubjectAlternativeName(san), critical=True)  # the subject is empty
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_ski(issuer)), critical=False)
    )
    if predecessors:
        builder = builder.add_extension(successor.extension(predecessors), critical=False)
    return _sign(builder, signer)


def authority(signer: SigningKey, trust_domain: str, *, now: float, lifetime: float) -> x509.Certificate:
    """A self-signed CA certificate of `trust_domain` that may sign leaves only. Raises CaFault when it cannot sign."""
    public: PublicKey = signer.private_key.public_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "extauthz"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"CA {signer.id}"),  # no two slots share a name
        ]
    )
    san = [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
    builder = (
        _builder(public, subject, subject, now - BACKDATED, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return _sign(builder, signer)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _builder(
    key: PublicKey, subject: x509.Name, issuer: x509.Name, start: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(int(start), dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(int(end), dt.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ski(issuer: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _sign(builder: x509.CertificateBuilder, signer: SigningKey) -> x509.Certificate:
    try:
        return builder.sign(signer.private_key, KINDS[signer.algorithm].certificate_hash)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CaFault(f"the CA key does not sign: {type(error).__name__}") from None
