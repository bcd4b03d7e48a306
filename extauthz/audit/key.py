"""The key that signs the chain: Ed25519 or P-256, a PKCS#8 PEM file of mode 0600 that is made at the first start.

Public keys are JWKs (RFC 7517, 8037); a `kid` is the RFC 7638 thumbprint. What is signed names its purpose and the
writer, so that a signature says nothing anywhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from extauthz.audit.fault import AuditError
from extauthz.keys.algorithms import KINDS, algorithm_of
from extauthz.keys.jwk import base64url, public_jwk, thumbprint
from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from pathlib import Path

_PURPOSE: Final = b"extauthz audit chain 1"
_MODE: Final = 0o600
_FILE_MAX: Final = 64 * 1024
_SIGNATURE: Final = 64
"""Bytes of a raw Ed25519 or ES256 signature."""
_CURVE: Final = 32
_PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


def statement(writer: str, seq: int, chain: str) -> bytes:
    """What is signed: record `seq` of `writer` is there, and everything before it is what `chain` covers."""
    return b"%b\n%b\n%d\n%b" % (_PURPOSE, writer.encode(), seq, chain.encode())


class AuditKey:
    """A private key. `kid` is what records call it."""

    def __init__(self, pem: bytes) -> None:
        """Raises AuditError for anything but one Ed25519 or P-256 key."""
        try:
            key = load_pem_private_key(pem, None)
            algorithm = algorithm_of(key)  # type: ignore[arg-type]  # it refuses other kinds
        except (ValueError, TypeError, UnsupportedAlgorithm, KeyFault):
            raise AuditError("the audit key is not a private key in PEM without a passphrase") from None
        if algorithm not in {"EdDSA", "ES256"}:
            raise AuditError("the audit key is an Ed25519 or a P-256 key")
        self._sign = KINDS[algorithm].signer(key)
        public = public_jwk(key.public_key())
        self.kid = thumbprint(public)
        self.jwk: dict[str, Any] = {**public, "kid": self.kid, "alg": algorithm, "use": "sig"}
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.mask_key = hashlib.sha256(b"extauthz audit mask 1\n" + der).digest()
        """Keys the digests that stand for masked values; the same as long as the key file is."""

    def __repr__(self) -> str:
        return f"AuditKey({self.kid})"

    def sign(self, writer: str, seq: int, chain: str) -> str:
        """base64url of the raw signature."""
        return base64url(self._sign(statement(writer, seq, chain)))


def opened(path: Path) -> AuditKey:
    """The key of a file, which is made when it is not there. Blocks. Raises AuditError."""
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise AuditError(f"the audit key {path} may be read by others: set its mode to 0600")
            return AuditKey(file.read(_FILE_MAX))
    except OSError as error:
        raise AuditError(f"the audit key {path} cannot be had: {error.strerror}") from None


def _make(path: Path) -> None:
    """Several processes may start at once: whoever links first has made the key. Raises OSError."""
    key = ed25519.Ed25519PrivateKey.generate()
    unfinished = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink()


class PublicKeys:
    """The keys whose word counts in a verification, by `kid`. Never empty."""

    def __init__(self, jwks: list[dict[str, Any]]) -> None:
        """`jwks`: as `AuditKey.jwk`. Raises AuditError."""
        if not jwks:
            raise AuditError("no public key is given")
        self._keys = dict(map(_public, jwks))
        self.jwks = jwks

    @classmethod
    def read(cls, paths: list[Path]) -> PublicKeys:
        """Files with a JWK, a JWK set, or a public key in PEM. Blocks. Raises AuditError."""
        found: list[dict[str, Any]] = []
        for path in paths:
            try:
                with path.open("rb") as file:
                    found += _jwks(file.read(_FILE_MAX))
            except OSError as error:
                raise AuditError(f"{path} cannot be read: {error.strerror}") from None
            except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, KeyFault):
                raise AuditError(f"{path} holds no public key: a JWK, a JWK set or PEM is expected") from None
        return cls(found)

    def wrong(self, kid: str, writer: str, seq: int, chain: str, signature: str) -> str:
        """What is wrong with a signature; empty: nothing."""
        key = self._keys.get(kid)
        if key is None:
            return "it is signed with an unknown key"
        try:
            raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        except (ValueError, binascii.Error):
            return "its signature is malformed"
        if len(raw) != _SIGNATURE or base64url(raw) != signature:
            return "its signature is malformed"
        try:
            _verify(key, raw, statement(writer, seq, chain))
        except InvalidSignature:
            return "its signature is wrong"
        return ""


def _verify(key: _PublicKey, raw: bytes, signed: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(raw, signed)
        return
    der = encode_dss_signature(int.from_bytes(raw[:_CURVE]), int.from_bytes(raw[_CURVE:]))
    key.verify(der, signed, ec.ECDSA(hashes.SHA256()))


def _jwks(content: bytes) -> list[dict[str, Any]]:
    if content.lstrip().startswith(b"-----BEGIN PUBLIC KEY"):
        return [public_jwk(load_pem_public_key(content))]
    document = orjson.loads(content)
    jwks: list[dict[str, Any]] = document.get("keys", [document])
    return jwks


def _public(jwk: dict[str, Any]) -> tuple[str, _PublicKey]:
    try:
        x = base64.urlsafe_b64decode(jwk["x"] + "==")
        if jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519":
            return thumbprint(jwk), ed25519.Ed25519PublicKey.from_public_bytes(x)
        if jwk["kty"] == "EC" and jwk["crv"] == "P-256":
            y = base64.urlsafe_b64decode(jwk["y"] + "==")
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
            return thumbprint(jwk), numbers.public_key()
    except (ValueError, TypeError, KeyError):
        pass
    raise AuditError("an Ed25519 or a P-256 public key is expected")
