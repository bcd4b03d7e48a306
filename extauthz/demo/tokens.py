"""A key that signs tokens of any content: the lab's, and those of tests (RFC 9068 where nothing else is said)."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock

ALGORITHM: Final = "ES256"
LIFETIME: Final = 300.0
"""Seconds."""


def new_key() -> bytes:
    """A P-256 private key, PKCS#8 PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Mint:
    """Signs access tokens for `issuer` with one key."""

    issuer: str
    private_key: bytes
    clock: Clock
    key_id: str = "development-1"

    def sign(
        self, claims: Mapping[str, Any], *, lifetime: float = LIFETIME, header: Mapping[str, Any] | None = None
    ) -> str:
        """A token with `iss`, `iat`, `exp` and a fresh `jti`; `claims` and `header` add to it, or replace."""
        now = int(self.clock.now())
        body = {"iss": self.issuer, "iat": now, "exp": now + int(lifetime), "jti": secrets.token_urlsafe(12), **claims}
        head = {"typ": "at+jwt", "kid": self.key_id, **(header or {})}
        return jwt.encode(body, self.private_key, ALGORITHM, headers=head)

    def verify(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token that this issuer signed for `audience`. Raises ExtauthzError."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._private().public_key(),
                [ALGORITHM],
                audience=audience,
                issuer=self.issuer,
                options={"require": ["exp", "iat", "sub", "aud"]},
            )
        except jwt.InvalidTokenError as error:
            raise ExtauthzError(f"{type(error).__name__}") from None
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517)."""
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._private().public_key()))
        return {"keys": [{**key, "kid": self.key_id, "use": "sig", "alg": ALGORITHM}]}

    def _private(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self.private_key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ExtauthzError("the issuer's key is not an EC key")
        return key
