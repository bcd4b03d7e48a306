"""Public keys as JWKs (RFC 7517, 7518 section 6, 8037) and their thumbprints (RFC 7638), which serve as `kid`."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Mapping

_CURVES: Final = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48), "secp521r1": ("P-521", 66)}
"""By the curve's name: what JWA calls it, and the bytes of a coordinate."""
_REQUIRED: Final = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
"""Members that a thumbprint covers (RFC 7638 section 3.2, RFC 8037 section 2)."""


def base64url(raw: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_jwk(key: object) -> dict[str, Any]:
    """The key's own members, nothing else. Raises KeyFault for a kind of key that JWA does not name."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        name, size = _CURVES[key.curve.name]
        point = key.public_numbers()
        return {
            "kty": "EC",
            "crv": name,
            "x": base64url(point.x.to_bytes(size)),
            "y": base64url(point.y.to_bytes(size)),
        }
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _unsigned(numbers.n), "e": _unsigned(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes_raw())}
    raise KeyFault(f"a key of this kind has no JWK: {type(key).__name__}")


def _unsigned(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 section 3 with SHA-256: 43 characters of base64url. `jwk` is one of `public_jwk`, or has its members."""
    members = {name: jwk[name] for name in _REQUIRED[jwk["kty"]]}
    return base64url(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())
