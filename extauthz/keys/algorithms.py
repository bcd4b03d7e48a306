"""The kinds of signing key that we make: how each is generated, and how it signs a JWS and a certificate.

Only the abstract classes of `cryptography` are named, so a subclass that asks an HSM for each signature works as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.keys.signer import KeyAlgorithm, PrivateKey

    Sign = Callable[[bytes], bytes]

RSA_BITS: Final = 3072


@dataclass(frozen=True, slots=True)
class Kind:
    """`certificate_hash` is what an X.509 builder signs with: None for Ed25519, which has its own."""

    generate: Callable[[], PrivateKey]
    signer: Callable[[Any], Sign]
    """From a private key to raw JWS signatures by it (RFC 7518 section 3, RFC 8037)."""
    certificate_hash: hashes.SHA256 | hashes.SHA384 | None


def _ecdsa(digest: hashes.HashAlgorithm, size: int) -> Callable[[Any], Sign]:
    scheme = ec.ECDSA(digest)

    def of(key: ec.EllipticCurvePrivateKey) -> Sign:
        def sign(signed: bytes) -> bytes:
            r, s = decode_dss_signature(key.sign(signed, scheme))
            return r.to_bytes(size) + s.to_bytes(size)

        return sign

    return of


def _rsa(key: rsa.RSAPrivateKey) -> Sign:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def _ed25519(key: ed25519.Ed25519PrivateKey) -> Sign:
    return key.sign


KINDS: Final[dict[KeyAlgorithm, Kind]] = {
    "ES256": Kind(lambda: ec.generate_private_key(ec.SECP256R1()), _ecdsa(hashes.SHA256(), 32), hashes.SHA256()),
    "ES384": Kind(lambda: ec.generate_private_key(ec.SECP384R1()), _ecdsa(hashes.SHA384(), 48), hashes.SHA384()),
    "RS256": Kind(lambda: rsa.generate_private_key(65537, RSA_BITS), _rsa, hashes.SHA256()),
    "EdDSA": Kind(ed25519.Ed25519PrivateKey.generate, _ed25519, None),
}


def algorithm_of(key: PrivateKey) -> KeyAlgorithm:
    """The one algorithm that a key is used with. Raises KeyFault for a key of another kind."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if isinstance(key.curve, ec.SECP256R1):
            return "ES256"
        if isinstance(key.curve, ec.SECP384R1):
            return "ES384"
    elif isinstance(key, rsa.RSAPrivateKey):
        if key.key_size >= RSA_BITS:
            return "RS256"
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    raise KeyFault("a signing key is P-256, P-384, Ed25519, or RSA of at least 3072 bits")
