"""A certificate signing request (PKCS #10, RFC 2986): we take a public key from it, and that its holder asks.

Names, extensions and attributes in it are ignored: the registration entry decides what the certificate says.
"""

from __future__ import annotations

import warnings
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning

from extauthz.model import Deny, deny

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MAX_CSR: Final = 16 * 1024
"""Bytes of PEM; an RSA-8192 request with many names stays below 6 KiB."""
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MIN_EXPONENT: Final = 65537
MAX_EXPONENT: Final = 2**32
_BEGIN: Final = b"-----BEGIN "
_LABEL: Final = b"-----BEGIN CERTIFICATE REQUEST-----"
_ERRORS: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, CryptographyDeprecationWarning)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def public_key(pem: str) -> PublicKey | Deny:
    """The key that a request asks a certificate for. Blocks below 1 ms.

    1. bounded, ASCII, exactly one PEM block, and that a certificate request
    2. well-formed PKCS #10
    3. a key of a kind and size that we certify; before the signature, so that no huge key is computed with
    4. signed with that key and SHA-2 (or Ed25519): who asks holds the private key
    """
    if len(pem) > MAX_CSR or not pem.isascii():  # 1
        return deny("request.csr_malformed", "too large or not ASCII")
    raw = pem.encode()
    if raw.count(_BEGIN) != 1 or _LABEL not in raw:  # 1
        return deny("request.csr_malformed", "not exactly one PEM certificate request")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            csr = x509.load_pem_x509_csr(raw)  # 2
            key = csr.public_key()
            if problem := _refused(key):  # 3
                return deny("request.csr_key", problem)
            digest = csr.signature_hash_algorithm
            weak = digest is not None and not isinstance(digest, _HASHES)
            if weak or not csr.is_signature_valid:  # 4
                return deny("request.csr_malformed", "the request's signature is wrong or too weak")
    except _ERRORS as error:
        return deny("request.csr_malformed", type(error).__name__)
    return key  # type: ignore[return-value]  # 3 lets no other kind through


def _refused(key: object) -> str:
    """Why we do not certify a key; empty when we do."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1) else f"curve {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return f"RSA of {key.key_size} bits"
        return "" if MIN_EXPONENT <= exponent < MAX_EXPONENT and exponent % 2 else "RSA exponent out of bounds"
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else f"a key of kind {type(key).__name__}"
