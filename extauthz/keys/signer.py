"""The interface of a signing key: who holds it is not the business of who uses it.

A key may be an object of `cryptography` in memory, one that was read from an encrypted file, or a stand-in of the same
abstract class that asks an HSM or a cloud KMS for each signature: X.509 builders and JWS both only call `sign`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

KeyAlgorithm = Literal["ES256", "ES384", "RS256", "EdDSA"]


class KeyFault(ExtauthzError):
    """A key cannot be made, opened or used. The text holds nothing of the key, its passphrase or what it signs."""


class SigningKey(Protocol):
    """One private key. `id` is its `kid`: stable, and unique in every set that it is published in."""

    @property
    def id(self) -> str: ...

    @property
    def algorithm(self) -> KeyAlgorithm: ...

    @property
    def private_key(self) -> PrivateKey:
        """For X.509 builders; never serialized by its users."""

    def jwk(self) -> dict[str, Any]:
        """The public half as a JWK (RFC 7517) with `kid` and `alg`, without `use`."""

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """A compact JWS over `claims` with `alg`, `kid` and `typ` in its header."""


class TokenSigner(Protocol):
    """The signing key that is in force, whichever that is at the moment: it follows rotation."""

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """As `SigningKey.sign`. Raises ExtauthzError while no key is active."""

    def jwks(self) -> dict[str, Any]:
        """Every published key, also those that are not used yet or any more (RFC 7517 section 5)."""
