"""The certificates that a certificate replaced: a private, non-critical X.509 extension.

A token is bound to the certificate that its client held when it was issued (RFC 8705). When that workload renews, the
new certificate lists the ones before it, so the token stays usable until it expires. Only the CA writes the
extension, and only for a renewal that the older certificate authenticated.

DER: SEQUENCE SIZE (1..8) OF OCTET STRING (SIZE (32)): SHA-256 of each predecessor's DER, newest first.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from extauthz.keys.jwk import base64url

if TYPE_CHECKING:
    from collections.abc import Sequence

OID: Final = x509.ObjectIdentifier("2.25.263407316846017733834541046917571713177")
MAX_PREDECESSORS: Final = 8
DIGEST: Final = 32
_ENTRY: Final = bytes((0x04, DIGEST))
_SEQUENCE: Final = 0x30
_SHORT: Final = 0x80
_MAX_BYTES: Final = 4 + MAX_PREDECESSORS * (len(_ENTRY) + DIGEST)


@dataclass(frozen=True, slots=True)
class Predecessors:
    """SHA-256 digests, newest first. Where the extension was unusable there are none, and `problem` says why."""

    digests: tuple[bytes, ...] = ()
    problem: str = ""

    @property
    def thumbprints(self) -> tuple[str, ...]:
        """As `cnf["x5t#S256"]` writes them (RFC 8705 section 3.1)."""
        return tuple(map(base64url, self.digests))


NONE: Final = Predecessors()


def encode(digests: Sequence[bytes]) -> bytes:
    """The extension's DER. `digests`: 1 to MAX_PREDECESSORS of 32 bytes each (the caller's duty)."""
    if not 1 <= len(digests) <= MAX_PREDECESSORS or any(len(digest) != DIGEST for digest in digests):
        raise AssertionError("1 to 8 digests of 32 bytes")
    content = b"".join(_ENTRY + digest for digest in digests)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    length = octets if size < _SHORT else bytes((_SHORT | len(octets),)) + octets
    return bytes((_SEQUENCE,)) + length + content


def extension(digests: Sequence[bytes]) -> x509.UnrecognizedExtension:
    """For a certificate builder; to be added as not critical."""
    return x509.UnrecognizedExtension(OID, encode(digests))


def decode(value: bytes) -> Predecessors:
    """Strict: only what `encode` writes, each digest once. Never raises."""
    if len(value) > _MAX_BYTES:
        return Predecessors(problem="predecessors extension too large")
    step = len(_ENTRY) + DIGEST
    count = len(value) // step
    if not 1 <= count <= MAX_PREDECESSORS:
        return Predecessors(problem="predecessors extension with too few or too many entries")
    content = value[len(value) - count * step :]
    digests = tuple(content[at + len(_ENTRY) : at + step] for at in range(0, len(content), step))
    if encode(digests) != value:  # DER has one encoding for each value
        return Predecessors(problem="predecessors extension is not the expected DER")
    if len(set(digests)) != count:
        return Predecessors(problem="predecessors extension names a certificate twice")
    return Predecessors(digests)


def read(certificate: x509.Certificate) -> Predecessors:
    """What a certificate says of its predecessors; none, with a problem, when it says it badly. Never raises.

    The certificate must have been verified before: anybody can write an extension.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found = certificate.extensions.get_extension_for_oid(OID)
    except x509.ExtensionNotFound:
        return NONE
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        CryptographyDeprecationWarning,
    ):
        return Predecessors(problem="the certificate's extensions cannot be read")
    if found.critical or not isinstance(found.value, x509.UnrecognizedExtension):
        return Predecessors(problem="predecessors extension is critical")
    return decode(found.value.value)
