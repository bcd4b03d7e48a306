"""The peer certificate that Envoy reports: bounded parsing and the X.509-SVID profile (X509-SVID sections 2 to 4).

Pure facts: no time and no trust here. `workload` checks validity on every Check, also when the facts come from a cache.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from extauthz.keys import successor
from extauthz.model import Deny, deny

MAX_ENCODED: Final = 32 * 1024
"""Bytes of URL-encoded PEM; an RSA-4096 leaf with many names stays below 6 KiB."""
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_X509_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises on hostile certificates; extensions are parsed lazily, so all of it is guarded."""
_BOTH: Final = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a peer certificate says. Times are seconds since the epoch; `profile_problem` is empty for an SVID."""

    certificate: x509.Certificate
    uri: str
    not_before: float
    not_after: float
    x5t: str
    """`x5t#S256`: unpadded base64url of SHA-256 over the DER (RFC 8705 section 3.1)."""
    hash: str
    """The same in lower-case hex, as XFCC writes it."""
    profile_problem: str
    predecessors: tuple[str, ...] = ()
    """`x5t#S256` of the certificates that this one says it has replaced. Anybody can write that into a certificate:
    believe it only of one whose chain has been verified."""


def parse(encoded: str) -> Leaf | Deny:
    """Read `source.certificate`: one URL-encoded PEM block.

    Denies with `transport.certificate_malformed`, or `transport.certificate_profile` when there is not exactly one URI
    SAN. Envoy picks the trust bundle by the first URI SAN while its matchers accept any of them, so several names are
    refused whatever the settings say.
    """
    if len(encoded) > MAX_ENCODED or not encoded.isascii():
        return deny("transport.certificate_malformed", "too large or not ASCII")
    pem = unquote_to_bytes(encoded)
    if pem.count(_BEGIN) != 1:
        return deny("transport.certificate_malformed", "not exactly one PEM certificate")
    try:
        with warnings.catch_warnings():
            # What the library only warns of (a serial number that RFC 5280 forbids) is refused already.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            return facts(x509.load_pem_x509_certificate(pem))
    except (*_X509_ERRORS, CryptographyDeprecationWarning) as error:
        return deny("transport.certificate_malformed", type(error).__name__)


def facts(certificate: x509.Certificate) -> Leaf | Deny:
    """As `parse`, of a certificate that has been read. Raises what `cryptography` raises on hostile ones."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if len(uris) != 1:
        return deny("transport.certificate_profile", f"{len(uris)} URI names; an SVID has exactly one")
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return Leaf(
        certificate=certificate,
        uri=uris[0],
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        x5t=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        hash=digest.hex(),
        profile_problem=_profile_problem(certificate),
        predecessors=successor.read(certificate).thumbprints,
    )


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> x509.Extension[_Kind] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _profile_problem(certificate: x509.Certificate) -> str:
    """The first rule of the X.509-SVID profile that this leaf breaks, numbered as below; empty when it keeps all.

    1. no certificate authority: cA is false (section 4.1)
    2. key usage: there, critical, digitalSignature, neither keyCertSign nor cRLSign (section 4.3)
    3. extended key usage, where present, has both serverAuth and clientAuth (section 4.4)
    4. the subject alternative name is critical when the subject is empty (RFC 5280 section 4.2.1.6)
    5. no critical extension that nobody here understands (RFC 5280 section 4.2)
    """
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    names = _extension(certificate, x509.SubjectAlternativeName)
    problems = (
        (constraints is not None and constraints.value.ca, "the leaf is a certificate authority"),  # 1
        (
            usage is None or not usage.critical or not usage.value.digital_signature,
            "key usage is not critical with digitalSignature",
        ),  # 2
        (
            usage is not None and (usage.value.key_cert_sign or usage.value.crl_sign),
            "key usage allows signing certificates",
        ),  # 2
        (
            purposes is not None and not _BOTH.issubset(purposes.value),
            "extended key usage lacks serverAuth or clientAuth",
        ),  # 3
        (
            not list(certificate.subject) and not (names is not None and names.critical),
            "the subject is empty and its alternative name is not critical",
        ),  # 4
        (
            any(e.critical and isinstance(e.value, x509.UnrecognizedExtension) for e in certificate.extensions),
            "an unknown critical extension",
        ),  # 5
    )
    return next((text for broken, text in problems if broken), "")
