"""Signatures of policy bundles, as OPA makes and checks them: `.signatures.json` holds one JWT over all files' hashes.

Verification, before anything else of the bundle is read:

1. `.signatures.json` is there and holds exactly one JWT.
2. The key is one that the configuration names: by the token's `kid` (or the payload's `keyid`); its algorithm is the
   key's, which the configuration pins. The header has no parameter beyond `alg`, `typ` and `kid`.
3. The signature is right; `scope` is the configured one.
4. Every file of the bundle is listed with its hash, and every listed file is there.

Structured files (`data.json`, `.manifest`) are hashed over their parsed JSON with sorted keys, all others over their
bytes. Source: OPA's documentation, "Bundle signing"; `bundle/hash.go` gives the exact bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from extauthz import strict_json
from extauthz.policy.archive import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIGNATURES: Final = ".signatures.json"
MANIFEST: Final = ".manifest"
MAX_SIGNATURES: Final = 4 * 1024**2
MAX_DATA: Final = 1024**3
MAX_DATA_DEPTH: Final = 128
MIN_RSA_BITS: Final = 2048
CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
HASHES: Final = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_SIGN_REMEDY: Final = "sign it with `extauthz policy build --sign-key`, or `opa sign`"
_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """Made by `verification_key`, which has checked that algorithm and key fit."""

    id: str
    algorithm: str
    key: _PublicKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    id: str
    algorithm: str
    key: _PrivateKey


def verification_key(id_: str, algorithm: str, pem: bytes) -> VerificationKey:
    """From a PEM public key. Raises BundleRefused."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BundleRefused(f"the key {id_} is not a PEM public key", "name a file with BEGIN PUBLIC KEY") from None
    if not isinstance(key, _PublicKey) or not _fits(algorithm, key):
        raise BundleRefused(f"the key {id_} does not fit {algorithm}", "ES256 with P-256, or RSA of 2048 bits or more")
    return VerificationKey(id_, algorithm, key)


def signing_key(id_: str, algorithm: str, pem: bytes) -> SigningKey:
    """From a PEM private key without a password. Raises BundleRefused."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BundleRefused("the signing key is not a PEM private key without a password", "use PKCS#8") from None
    if not isinstance(key, _PrivateKey) or not _fits(algorithm, key.public_key()):
        raise BundleRefused(
            f"the signing key does not fit {algorithm}", "ES256 with P-256, or RSA of 2048 bits or more"
        )
    return SigningKey(id_, algorithm, key)


def _fits(algorithm: str, key: _PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return algorithm in RSA_ALGORITHMS and key.key_size >= MIN_RSA_BITS
    return CURVES.get(algorithm) == key.curve.name


def verify(files: Mapping[str, bytes], keys: Iterable[VerificationKey], scope: str) -> str:
    """The id of the key that signed all of `files`. Raises BundleRefused."""
    token = _token(files.get(SIGNATURES))  # 1
    key, payload = _verified(token, {key.id: key for key in keys})
    if payload.get("scope", "") != scope:  # 3
        raise BundleRefused("is signed for another scope", "sign it for the scope that policy.bundle.scope names")
    listed: dict[str, tuple[str, str]] = {}
    entries = payload.get("files")
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"name": str(name), "hash": str(digest), "algorithm": str(algorithm)} if name not in listed:
                listed[name] = (digest, algorithm)
            case _:
                raise BundleRefused("has a signature whose list of files is malformed")
    names = files.keys() - {SIGNATURES}
    if missing := names - listed.keys():  # 4
        raise BundleRefused(f"holds {min(missing)}, which is not signed", _SIGN_REMEDY)
    if gone := listed.keys() - names:
        raise BundleRefused(f"lacks {min(gone)}, which its signature names", _SIGN_REMEDY)
    for name, (digest, algorithm) in listed.items():
        if algorithm not in HASHES:
            raise BundleRefused(f"has a hash of {name} by an algorithm that is not accepted", "use SHA-256")
        if file_hash(name, files[name], algorithm) != digest.lower():
            raise BundleRefused(f"has another {name} than was signed", _SIGN_REMEDY)
    return key.id


def sign(files: Mapping[str, bytes], key: SigningKey, scope: str = "") -> bytes:
    """`.signatures.json` for `files`; equal inputs make equal payloads (an ECDSA signature itself is random)."""
    listed = [
        {"name": name, "hash": file_hash(name, files[name]), "algorithm": "SHA-256"}
        for name in sorted(files)
        if name != SIGNATURES
    ]
    payload: dict[str, Any] = {"files": listed, "keyid": key.id}
    if scope:
        payload["scope"] = scope
    token = jwt.PyJWS().encode(orjson.dumps(payload), key.key, algorithm=key.algorithm, headers={"kid": key.id})
    return orjson.dumps({"signatures": [token]})


def file_hash(name: str, content: bytes, algorithm: str = "SHA-256") -> str:
    """Raises BundleRefused for a structured file that is not JSON."""
    digest = hashlib.new(HASHES[algorithm])
    if name.rpartition("/")[2] in {"data.json", MANIFEST}:
        digest.update(_canonical(structured(name, content)).encode())
    else:
        digest.update(content)
    return digest.hexdigest()


class _Number(str):
    """A number as it is written: its digits are what OPA hashes."""

    __slots__ = ()


def structured(name: str, content: bytes) -> Any:
    """The JSON of a data file, numbers as text. Raises BundleRefused."""
    try:
        strict_json.fits(content, max_bytes=MAX_DATA, max_depth=MAX_DATA_DEPTH)
        return json.loads(
            content.decode(),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_constant,
            object_pairs_hook=_members,
        )
    except strict_json.NotStrict as error:
        raise BundleRefused(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise BundleRefused(f"{name} is not JSON") from None


def _constant(_: str) -> Any:
    raise strict_json.NotStrict("NaN and Infinity are not JSON")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise strict_json.NotStrict("an object names a member twice")
    return members


def _canonical(value: Any) -> str:
    """What OPA hashes: sorted keys, no spaces, numbers as written, strings as Go's encoder writes them."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, _Number):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BundleRefused("a string holds half of a surrogate pair") from None
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _token(content: bytes | None) -> str:
    if content is None:
        raise BundleRefused("is not signed", _SIGN_REMEDY)
    try:
        document = strict_json.parse(content, max_bytes=MAX_SIGNATURES, max_depth=8).root
    except strict_json.NotStrict as error:
        raise BundleRefused(f"has a damaged {SIGNATURES}: {error}") from None
    match document:
        case {"signatures": [str(token)]}:
            return token
    raise BundleRefused(f"must have exactly one signature in {SIGNATURES}", _SIGN_REMEDY)


def _verified(token: str, keys: Mapping[str, VerificationKey]) -> tuple[VerificationKey, dict[str, Any]]:
    """Steps 2 and 3."""
    jws = jwt.PyJWS()
    try:
        header = jws.get_unverified_header(token)
        claimed = orjson.loads(jws.decode_complete(token, options={"verify_signature": False})["payload"])
    except (jwt.InvalidTokenError, orjson.JSONDecodeError, ValueError):
        claimed = header = None
    if not isinstance(claimed, dict) or not isinstance(header, dict) or set(header) - _HEADER:
        raise BundleRefused("has a signature that is not a plain JWT", _SIGN_REMEDY)
    named = header.get("kid") or claimed.get("keyid")
    key = keys.get(named) if isinstance(named, str) else None
    if key is None:
        raise BundleRefused("is signed with a key that the configuration does not name", "add it to policy.bundle.keys")
    if header.get("alg") != key.algorithm:
        raise BundleRefused("is signed with another algorithm than its key has in the configuration", _SIGN_REMEDY)
    try:
        verified = jws.decode(token, key.key, algorithms=[key.algorithm])  # 3
        return key, orjson.loads(verified)
    except (jwt.InvalidTokenError, orjson.JSONDecodeError, ValueError):
        raise BundleRefused("has a wrong signature", _SIGN_REMEDY) from None
