"""JWT-SVIDs: read what one says of itself, and check one against trust bundles (JWT-SVID sections 2 to 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import jwk, spiffe
from extauthz.authn.jose import MAX_TOKEN, decode
from extauthz.authn.json_object import parse_object
from extauthz.workload_api.trust_bundle import JWT_ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.workload_api.identity import TrustBundle

LEEWAY: Final = 30.0
MAX_AUDIENCES: Final = 16
_PARAMETERS: Final = frozenset({"alg", "kid", "typ"})
_TYPES: Final = (None, "JWT", "JOSE")


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """Times are seconds since the epoch. `token` is a secret."""

    token: str
    spiffe_id: str
    audience: tuple[str, ...]
    expires_at: float
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"JwtSvid({self.spiffe_id}, {self.audience}, {self.expires_at})"


def read(token: str) -> JwtSvid | str:  # noqa: PLR0911 - one return a refusal, numbered
    """What the token says; nothing of it is verified. A text says why it is no JWT-SVID.

    1. a compact JWS of bounded size
    2. the header holds alg, kid and typ at most (section 2), with an algorithm of section 2.1
    3. sub is a workload's SPIFFE ID, aud names somebody, exp is a time (section 3)
    """
    parts = token.encode("utf-8", "replace").split(b".")
    if len(token) > MAX_TOKEN or len(parts) != 3 or not all(parts):  # noqa: PLR2004 - 1: a compact JWS has three
        return "not a compact JWS of bounded size"
    header, claims = _object(parts[0]), _object(parts[1])
    if header is None or claims is None:
        return "not a compact JWS of strict JSON"
    algorithm = header.get("alg")
    if not header.keys() <= _PARAMETERS or header.get("typ") not in _TYPES:  # 2
        return "a header that a JWT-SVID does not have"
    if not isinstance(algorithm, str) or algorithm not in JWT_ALGORITHMS:  # 2
        return "an algorithm that a JWT-SVID does not have"
    subject, audience, expires = claims.get("sub"), claims.get("aud"), claims.get("exp")
    audience = [audience] if isinstance(audience, str) else audience
    if not isinstance(subject, str) or spiffe.parse(subject) is None:  # 3
        return "sub is no workload's SPIFFE ID"
    if not isinstance(audience, list) or not audience or not all(isinstance(name, str) and name for name in audience):
        return "aud names nobody"  # 3
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not math.isfinite(expires):  # 3
        return "exp is no time"
    return JwtSvid(token, subject, tuple(audience), float(expires), claims)


def validate(  # noqa: PLR0911 - one return a refusal, numbered
    token: str, audience: str, trust: Mapping[str, TrustBundle], now: float
) -> JwtSvid | str:
    """The JWT-SVID, or why it is refused (no byte of the token in the text).

    1. its form
    2. it has not expired, within the leeway
    3. `audience` is among those that it names
    4. the signature, by the key that `kid` names in the bundle of the subject's own trust domain
    """
    found = read(token)  # 1
    if isinstance(found, str):
        return found
    if found.expires_at + LEEWAY <= now:  # 2
        return "the token has expired"
    if audience not in found.audience:  # 3
        return "the token is for another audience"
    head, payload, signature = token.split(".")
    header = _object(head.encode()) or {}
    domain = trust.get(found.spiffe_id.removeprefix("spiffe://").partition("/")[0])
    raw = decode(signature.encode())
    if domain is None or raw is None or not isinstance(header.get("kid"), str):  # 4
        return "the trust domain or the key is not known"
    for key in domain.jwt_keys:
        parsed = jwk.parse(key, JWT_ALGORITHMS)
        if isinstance(parsed, str) or parsed.kid != header["kid"]:
            continue
        if parsed.verifies(str(header["alg"]), raw, f"{head}.{payload}".encode()):
            return found
        return "the signature is wrong"
    return "the trust domain or the key is not known"


def _object(encoded: bytes) -> dict[str, Any] | None:
    raw = decode(encoded)
    return None if raw is None else parse_object(raw, max_depth=6, max_values=512)
