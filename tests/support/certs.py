"""A tiny certificate authority for tests: real keys, real certificates, every profile mistake on request."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extauthz.model import Deny, Layer, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = 1_800_000_000.0
"""What `ManualClock()` starts at."""
HOUR = 3600.0
NO_USAGE = dict.fromkeys(
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
BOTH_EKU = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def when(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


@dataclass(frozen=True)
class Leaf:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    uris: tuple[str, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def envoy(self) -> str:
        """As Envoy sends it in `source.certificate`."""
        return quote(self.pem, safe="")

    @property
    def x5t(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.der).digest()).rstrip(b"=").decode()

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


@dataclass
class TestCa:
    __test__ = False

    name: str = "test CA"
    not_before: float = EPOCH - 24 * HOUR
    not_after: float = EPOCH + 240 * HOUR
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        usage = {**NO_USAGE, "key_cert_sign": True, "crl_sign": True}
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(when(self.not_before))
            .not_valid_after(when(self.not_after))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def leaf(
        self,
        *uris: str,
        dns: Sequence[str] = (),
        ca: bool | None = False,
        usage: dict[str, bool] | None = None,
        usage_critical: bool = True,
        eku: Sequence[x509.ObjectIdentifier] | None = BOTH_EKU,
        not_before: float = EPOCH - HOUR,
        not_after: float = EPOCH + HOUR,
        common_name: str = "",
        san_critical: bool | None = None,
        extra: Sequence[x509.ExtensionType] = (),
        plain: Sequence[x509.ExtensionType] = (),
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Leaf:
        """`usage` overrides single key-usage bits; `ca=None` leaves basic constraints out.

        `extra` extensions are critical, `plain` ones are not.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(when(not_before))
            .not_valid_after(when(not_after))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        bits = {**NO_USAGE, "digital_signature": True, **(usage or {})}
        if any(bits.values()):
            builder = builder.add_extension(x509.KeyUsage(**bits), critical=usage_critical)
        if eku is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
        if uris or dns:
            names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
            critical = not common_name if san_critical is None else san_critical
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
        for extension in (*extra, *plain):
            builder = builder.add_extension(extension, critical=extension in extra)
        return Leaf(builder.sign(self.key, hashes.SHA256()), key, uris)


def peer_request(
    leaf: Leaf | None = None,
    *,
    principal: str | None = None,
    certificate: str | None = None,
    headers: dict[str, str] | None = None,
    duplicated: Sequence[str] = (),
) -> Request:
    """A request from the peer that holds `leaf`; principal and certificate as Envoy reports them, unless given."""
    uri = leaf.uris[0] if leaf is not None and leaf.uris else ""
    return Request(
        id="r-1",
        method="GET",
        scheme="https",
        host="payments.example",
        path="/",
        query="",
        protocol="HTTP/2",
        headers=headers or {},
        body=b"",
        body_truncated=False,
        principal=uri if principal is None else principal,
        certificate=(leaf.envoy if leaf else "") if certificate is None else certificate,
        source_address="192.0.2.1",
        destination_principal="",
        context_extensions={},
        duplicated_headers=frozenset(duplicated),
    )


def assert_denied(answer: object, code: str) -> None:
    """The refusal has this code, and with it its layer."""
    assert isinstance(answer, Deny), f"not refused: {type(answer).__name__}"
    assert (answer.layer, answer.code) == (Layer(code.partition(".")[0]), code)
