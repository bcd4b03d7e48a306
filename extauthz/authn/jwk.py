"""One public key of an issuer: from a JWK to an object that verifies (RFC 7517, 7518 section 6, 8037).

The key objects of `cryptography` are called directly; a key knows its own kind, so no token can make an EC key serve
as an HMAC secret or P-256 as P-384.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from extauthz.authn.jose import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    _Checks = dict[str, Callable[[bytes, bytes], None]]
    _Made = tuple[_Checks, tuple[Any, ...]]

PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Verification takes longer with the square of it; a hostile JWKS must not be able to stall us."""
MIN_EXPONENT: Final = 65537
MAX_EXPONENT: Final = 2**32
_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Final[dict[str, tuple[ec.EllipticCurve, int, str]]] = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}
"""Curve, bytes of a coordinate, and the one algorithm for it (RFC 7518 section 3.4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A usable key. `checks` maps each algorithm that it may be used with to `check(signature, signed)`."""

    kid: str | None
    checks: _Checks
    material: tuple[Any, ...]
    """The public numbers: two keys with the same are the same key."""

    def verifies(self, algorithm: str, signature: bytes, signed: bytes) -> bool:
        """False for a wrong signature and for an algorithm that is not this key's."""
        check = self.checks.get(algorithm)
        if check is None:
            return False
        try:
            check(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse(jwk: Any, algorithms: frozenset[str]) -> Key | str:  # noqa: PLR0911 - one return a refusal, numbered
    """A key that may verify with at least one of `algorithms`, or why there is none (no key material in the text).

    1. an object without private or symmetric members: a set that publishes its secrets proves nothing with them
    2. `use` is absent or `sig`; `key_ops` is absent or has `verify`
    3. `kty` and `crv` are known, the numbers canonical, the point on the curve, RSA within its bounds
    4. `alg`, where present, narrows the algorithms to itself
    """
    if not isinstance(jwk, dict) or jwk.get("kty") == "oct" or PRIVATE & jwk.keys():  # 1
        return "symmetric or private key members"
    kid = jwk.get("kid")
    if "kid" in jwk and not (isinstance(kid, str) and kid):
        return "kid is not a string"
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:  # 2
        return "not for signatures"
    maker = _MAKERS.get(jwk["kty"]) if isinstance(jwk.get("kty"), str) else None
    if maker is None:  # 3
        return "unknown kty"
    try:
        made = maker(jwk)
    except (ValueError, UnsupportedAlgorithm):
        return "invalid key"
    if isinstance(made, str):  # 3
        return made
    checks, material = made
    wanted = algorithms if "alg" not in jwk else algorithms & {str(jwk["alg"])}  # 4
    usable = {name: check for name, check in checks.items() if name in wanted}
    return Key(kid, usable, material) if usable else "for another algorithm"


def _number(jwk: dict[str, Any], name: str, length: int = 0) -> int:
    """Base64urlUInt; exactly `length` bytes where given. Raises ValueError."""
    value = jwk.get(name)
    raw = decode(value.encode()) if isinstance(value, str) and value.isascii() else None
    if not raw or (length and len(raw) != length):
        raise ValueError(name)
    return int.from_bytes(raw)


def _ec(jwk: dict[str, Any]) -> _Made | str:
    known = _CURVES.get(jwk["crv"]) if isinstance(jwk.get("crv"), str) else None
    if known is None:
        return "unknown curve"
    curve, size, algorithm = known
    numbers = ec.EllipticCurvePublicNumbers(_number(jwk, "x", size), _number(jwk, "y", size), curve)
    key = numbers.public_key()  # refuses points off the curve
    scheme = ec.ECDSA(_HASHES[algorithm[2:]])

    def check(signature: bytes, signed: bytes) -> None:
        if len(signature) != 2 * size:  # r and s, each as long as a coordinate (RFC 7518 section 3.4)
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), signed, scheme)

    return {algorithm: check}, ("EC", curve.name, numbers.x, numbers.y)


def _rsa(jwk: dict[str, Any]) -> _Made | str:
    modulus, exponent = _number(jwk, "n"), _number(jwk, "e")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        return f"RSA of {modulus.bit_length()} bits"
    if not MIN_EXPONENT <= exponent < MAX_EXPONENT or exponent % 2 == 0:
        return "RSA exponent out of bounds"
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def checker(scheme: padding.AsymmetricPadding, digest: hashes.HashAlgorithm) -> Callable[[bytes, bytes], None]:
        return lambda signature, signed: key.verify(signature, signed, scheme, digest)

    checks: _Checks = {}
    for bits, digest in _HASHES.items():
        checks[f"RS{bits}"] = checker(padding.PKCS1v15(), digest)
        # The salt is as long as the digest (RFC 7518 section 3.5).
        checks[f"PS{bits}"] = checker(padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return checks, ("RSA", modulus, exponent)


def _okp(jwk: dict[str, Any]) -> _Made | str:
    if jwk.get("crv") != "Ed25519":
        return "unknown curve"
    raw = _number(jwk, "x", 32).to_bytes(32)
    return {"EdDSA": ed25519.Ed25519PublicKey.from_public_bytes(raw).verify}, ("OKP", raw)


_MAKERS: Final = {"EC": _ec, "RSA": _rsa, "OKP": _okp}
