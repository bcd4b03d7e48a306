"""What a workload is given: its X.509-SVID with the private key, and the trust bundles of the domains that it knows.

All of it is values in memory. A private key leaves this process only over the sockets that serve it, and only where
`Svid.key_der` or `Svid.key_pem` is called; `repr` never shows one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.utils import CryptographyDeprecationWarning

from extauthz.authn import spiffe, x509_svid
from extauthz.errors import ExtauthzError
from extauthz.model import Deny

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.keys.signer import PrivateKey

MAX_CERTIFICATES: Final = 64
MAX_BYTES: Final = 1024 * 1024
_SEQUENCE: Final = 0x30
_LONG_FORM: Final = 0x80
_KEYS: Final = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)


class IdentityError(ExtauthzError):
    """Certificates, a key or a trust bundle that cannot be used. The text holds no key material."""


@dataclass(frozen=True, slots=True, eq=False)
class Svid:
    """An X.509-SVID. `chain` is leaf first; made by `svid`, so chain, key and ID fit together."""

    spiffe_id: str
    trust_domain: str
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)

    @property
    def not_before(self) -> float:
        """Seconds since the epoch."""
        return self.chain[0].not_valid_before_utc.timestamp()

    @property
    def not_after(self) -> float:
        """Seconds since the epoch: when the first certificate of the chain ends."""
        return min(certificate.not_valid_after_utc.timestamp() for certificate in self.chain)

    @property
    def serial(self) -> str:
        """The leaf's serial number in whole bytes, hex, as Envoy and OpenSSL write it."""
        number = self.chain[0].serial_number
        return number.to_bytes(max(1, (number.bit_length() + 7) // 8)).hex()

    def chain_pem(self) -> bytes:
        return to_pem(self.chain)

    def chain_der(self) -> bytes:
        return to_der(self.chain)

    def key_pem(self) -> bytes:
        """PKCS#8, unencrypted. A secret."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def key_der(self) -> bytes:
        """PKCS#8, unencrypted. A secret."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """One trust domain's bundle. Empty authorities mean that no certificate of the domain is trusted."""

    authorities: tuple[x509.Certificate, ...] = ()
    jwt_keys: tuple[Mapping[str, Any], ...] = ()
    """JWKs with `kid`, without `use`."""


@dataclass(frozen=True, slots=True, eq=False)
class X509Context:
    """What one workload needs for mTLS. `trust` has its own domain's certificate authorities among the others."""

    svid: Svid
    trust: Mapping[str, tuple[x509.Certificate, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """Everything that an agent serves, as of one moment.

    `sequence` counts the versions of `trust` (`/v1/trust`).
    """

    svid: Svid
    trust: Mapping[str, TrustBundle]
    sequence: int = 0


def svid(chain: Sequence[x509.Certificate], key: PrivateKey) -> Svid:
    """Checks that the parts fit. Raises IdentityError.

    1. there is a leaf, and the chain is bounded
    2. the leaf is an X.509-SVID of one workload
    3. the leaf certifies exactly this key
    """
    if not 0 < len(chain) <= MAX_CERTIFICATES:  # 1
        raise IdentityError("the certificate chain is empty or too long")
    leaf = x509_svid.parse(chain[0].public_bytes(Encoding.PEM).decode())
    if isinstance(leaf, Deny):  # 2
        raise IdentityError(f"the certificate is no X.509-SVID: {leaf.reasons[0].detail}")
    if leaf.profile_problem:  # 2
        raise IdentityError(f"the certificate is no X.509-SVID: {leaf.profile_problem}")
    named = spiffe.parse(leaf.uri)
    if named is None:  # 2
        raise IdentityError("the certificate names no workload's SPIFFE ID")
    if not certifies(chain[0], key):  # 3
        raise IdentityError("the certificate is for another key")
    return Svid(named.text, named.trust_domain, tuple(chain), key)


def certifies(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """Whether `certificate` is for the public half of `key`."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return False


def parse_key(der: bytes) -> PrivateKey:
    """An unencrypted PKCS#8 key. Raises IdentityError."""
    try:
        key = load_der_private_key(der, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IdentityError("not a PKCS#8 private key") from None
    if not isinstance(key, _KEYS):
        raise IdentityError("a private key of a kind that is not used here")
    return key


def parse_pem(pem: bytes) -> tuple[x509.Certificate, ...]:
    """At least one certificate. Raises IdentityError."""
    if len(pem) > MAX_BYTES:
        raise IdentityError("too many bytes of certificates")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(pem)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, CryptographyDeprecationWarning):
        raise IdentityError("not a list of PEM certificates") from None
    if len(found) > MAX_CERTIFICATES:
        raise IdentityError("too many certificates")
    return tuple(found)


def parse_der(concatenated: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates one after the other, as the Workload API writes them; none for no bytes. Raises IdentityError."""
    if len(concatenated) > MAX_BYTES:
        raise IdentityError("too many bytes of certificates")
    found: list[x509.Certificate] = []
    rest = concatenated
    while rest:
        size = _der_size(rest)
        if size > len(rest) or len(found) == MAX_CERTIFICATES:
            raise IdentityError("not a list of DER certificates, or too many")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", CryptographyDeprecationWarning)
                found.append(x509.load_der_x509_certificate(rest[:size]))
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, CryptographyDeprecationWarning):
            raise IdentityError("not a list of DER certificates") from None
        rest = rest[size:]
    return tuple(found)


def _der_size(der: bytes) -> int:
    """Bytes of the SEQUENCE that `der` starts with (X.690 section 8.1.3). Raises IdentityError."""
    if len(der) < 2 or der[0] != _SEQUENCE:  # noqa: PLR2004 - tag and length
        raise IdentityError("not a list of DER certificates")
    if der[1] < _LONG_FORM:
        return 2 + der[1]
    octets = der[1] - _LONG_FORM
    if not 0 < octets <= 3 or len(der) < 2 + octets:  # noqa: PLR2004 - 16 MiB is more than we take
        raise IdentityError("not a list of DER certificates")
    return 2 + octets + int.from_bytes(der[2 : 2 + octets])


def to_der(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
