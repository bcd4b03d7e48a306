"""A private key that signs compact JWS (RFC 7515): everything that does not change is encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm

from extauthz.keys.algorithms import KINDS, algorithm_of
from extauthz.keys.jwk import base64url, public_jwk, thumbprint
from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.keys.signer import KeyAlgorithm, PrivateKey

_MAX_TYPES: Final = 16
"""Values of `typ` whose header is kept; there are as many as kinds of token that we mint."""


class JwsKey:
    """A `SigningKey` over any private key of `cryptography`'s classes; `id` is the RFC 7638 thumbprint.

    Raises KeyFault for a key that is none of KINDS.
    """

    __slots__ = ("_headers", "_jwk", "_sign", "algorithm", "id", "private_key")

    def __init__(self, private_key: PrivateKey) -> None:
        self.private_key: PrivateKey = private_key
        self.algorithm: KeyAlgorithm = algorithm_of(private_key)
        public = public_jwk(private_key.public_key())
        self.id = thumbprint(public)
        self._jwk = {**public, "kid": self.id, "alg": self.algorithm}
        self._sign = KINDS[self.algorithm].signer(private_key)
        self._headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"JwsKey({self.algorithm}, {self.id})"

    def jwk(self) -> dict[str, Any]:
        return dict(self._jwk)

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """As `SigningKey.sign`. Raises KeyFault when the claims are not JSON, or the key does not sign."""
        try:
            payload = orjson.dumps(dict(claims))
        except TypeError:  # JSONEncodeError is one
            raise KeyFault("claims that are not JSON") from None
        signed = f"{self._header(typ)}.{base64url(payload)}"
        try:
            signature = self._sign(signed.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFault(f"the key does not sign: {type(error).__name__}") from None
        return f"{signed}.{base64url(signature)}"

    def _header(self, typ: str) -> str:
        header = self._headers.get(typ)
        if header is None:
            header = base64url(orjson.dumps({"alg": self.algorithm, "kid": self.id, "typ": typ}))
            if len(self._headers) < _MAX_TYPES:
                self._headers[typ] = header
        return header
