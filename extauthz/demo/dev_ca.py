"""An authority for the lab and for tests: it signs whatever it is asked to, attacks included, and is gone with the run.

`extauthz authority` attests a workload first, and never signs what must be refused.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extauthz.clock import Clock, SystemClock
from extauthz.demo.files import write_private
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SVID_LIFETIME: Final = 3600.0
"""Seconds. Envoy closes its connections after 900."""
_CA_LIFETIME: Final = 86400.0
_BACKDATED: Final = 60.0
"""Seconds that a certificate is valid before it was made, for clocks that differ."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate (PEM) with its private key (PKCS#8 PEM)."""

    certificate: bytes
    private_key: bytes
    sha256: str
    """`x5t#S256`: unpadded base64url of SHA-256 over the DER (RFC 8705 section 3.1)."""

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return _private(self.private_key)

    def write(self, folder: Path, name: str) -> None:
        """`name.key`, then `name.pem`, so that a watcher of the certificate finds the key that fits."""
        write_private(folder / f"{name}.key", self.private_key)
        write_private(folder / f"{name}.pem", self.certificate)


def thumbprint(certificate: x509.Certificate) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()


class DevCa:
    """The authority of one trust domain."""

    def __init__(
        self, trust_domain: str, clock: Clock | None = None, *, kept: tuple[bytes, bytes] | None = None
    ) -> None:
        """`kept`: trust bundle and private key (PEM) of an authority that goes on."""
        self._clock = clock or SystemClock()
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{trust_domain} development")])
        if kept is not None:
            self._certificate, self._key = x509.load_pem_x509_certificate(kept[0]), _private(kept[1])
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.now()
        self._certificate = (
            _builder(now - _BACKDATED, now + _CA_LIFETIME, self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_names([f"spiffe://{trust_domain}"]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def trust_bundle(self) -> bytes:
        """PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def private_key(self) -> bytes:
        """PKCS#8 PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def ends(self) -> float:
        """When the authority's certificate expires, in seconds since the epoch."""
        return self._certificate.not_valid_after_utc.timestamp()

    def svid(
        self, *spiffe_ids: str, lifetime: float = SVID_LIFETIME, usages: Sequence[x509.ObjectIdentifier] = ()
    ) -> Identity:
        """A leaf for a SPIFFE ID (SPIFFE X509-SVID section 4). `lifetime` in seconds; a negative one has passed.

        Several IDs, or usages other than the profile's, make a leaf that must be refused.
        """
        usages = usages or (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._leaf(_names(spiffe_ids), lifetime, usages)

    def server(self, *dns_names: str, lifetime: float = SVID_LIFETIME) -> Identity:
        """A server certificate for clients outside the mesh."""
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        return self._leaf(names, lifetime, (ExtendedKeyUsageOID.SERVER_AUTH,))

    def _leaf(
        self, names: x509.SubjectAlternativeName, lifetime: float, usages: Sequence[x509.ObjectIdentifier]
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.now()
        certificate = (
            _builder(now - _BACKDATED + min(lifetime, 0.0), now + lifetime, x509.Name([]), self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(names, critical=True)  # critical because the subject is empty (RFC 5280 section 4.2.1.6)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            thumbprint(certificate),
        )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ExtauthzError("the development authority's key is not an EC key")
    return key


def _builder(
    start: float, end: float, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    first = datetime.fromtimestamp(start, UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + timedelta(seconds=end - start))
    )


def _names(uris: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
