"""Whose words a signed token holds: form, issuer, algorithm, type, key, signature. What they say is judged elsewhere.

As `authn.tokens.TokenVerifier` does it (its steps 2 to 6), for what that one is not for: all claims of a token that
is about to become another one, security events, which have neither `exp` nor `sub`, and our own tokens, whose keys
are in this process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from extauthz.authn import jose, jwks
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from extauthz.authn.jwk import Key
    from extauthz.authn.settings import IssuerSettings
    from extauthz.keys.signer import TokenSigner

OWN: Final = "self"
"""The name of our own issuer among the others."""


class Keys(Protocol):
    """As `authn.keys.KeySource`."""

    def current(self) -> jwks.KeySet | None: ...

    async def refresh(self) -> bool: ...


class OwnKeys:
    """The keys that we publish ourselves: a key that is withdrawn verifies nothing from that moment on."""

    def __init__(self, signer: TokenSigner, algorithms: Iterable[str]) -> None:
        self._signer = signer
        self._algorithms = tuple(algorithms)
        self._content = b""
        self._keys: jwks.KeySet | None = None

    def current(self) -> jwks.KeySet | None:
        content = orjson.dumps(self._signer.jwks())
        if content != self._content:
            parsed = jwks.parse(content, self._algorithms, OWN)
            self._content = content
            self._keys = parsed if isinstance(parsed, jwks.KeySet) else None
        return self._keys

    async def refresh(self) -> bool:
        """There is nowhere else to look."""
        return False


@dataclass(frozen=True, slots=True)
class Proven:
    """Claims that `issuer` has signed, and nothing more: not that they are valid now, or meant for us."""

    issuer: IssuerSettings
    typ: str
    kid: str
    claims: dict[str, Any]
    digest: str
    """SHA-256 of the token in lower-case hex."""


class Signatures:
    """`issuers`: each with its keys. Later ones of one `iss` replace earlier ones."""

    def __init__(self, issuers: Iterable[tuple[IssuerSettings, Keys]]) -> None:
        self._by_iss = {issuer.issuer: (issuer, keys) for issuer, keys in issuers}

    async def prove(  # noqa: PLR0911 - one return a refusal, numbered
        self, token: str, types: Collection[str] = (), *, unnamed: str | None = None
    ) -> Proven | Deny:
        """Suspends only while an issuer's keys are fetched. `unnamed`: as `jose.parse`.

        1. the form is that of a signed JWT, nothing else
        2. the issuer is configured, and may use this algorithm
        3. the token says that it is of one of `types` (empty: the issuer's own)
        4. the key comes from this issuer's set alone
        5. the signature is right
        """
        unverified = jose.parse(token, unnamed=unnamed)  # 1
        if isinstance(unverified, Deny):
            return unverified
        issuer, keys = self._by_iss.get(unverified.issuer, (None, None))
        if issuer is None or keys is None:  # 2
            return deny("token.issuer")
        header = unverified.header
        if header.alg not in issuer.algorithms:  # 2
            return deny("token.algorithm")
        if header.typ not in (types or issuer.types):  # 3
            return deny("token.type")
        key = _find(keys, header)  # 4
        if key is None:
            await keys.refresh()
            key = _find(keys, header)
        if key is None:
            return deny("token.keys_unavailable" if keys.current() is None else "token.key_unknown")
        if not key.verifies(header.alg, unverified.signature, unverified.signed):  # 5
            return deny("token.signature")
        return Proven(issuer, header.typ, header.kid or "", unverified.claims, digest(token))


def _find(keys: Keys, header: jose.Header) -> Key | None:
    current = keys.current()
    return None if current is None else current.find(header.kid, header.alg)


def digest(token: str) -> str:
    """Lower-case hex SHA-256 of a token: what stores, revocations and records know it by."""
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
