"""Compact JWS, judged before any library sees it (RFC 7515, RFC 8725).

Everything that has ever fooled a JWT library is refused here by form: other serialisations, encryption, compression,
embedded or referenced keys, critical extensions, unsecured and symmetric algorithms, ambiguous base64url and JSON.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Any, Final

from extauthz.authn.json_object import parse_object
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, deny

MAX_TOKEN: Final = 8 * 1024
MAX_HEADER: Final = 1024
"""Encoded bytes of the header; x5t and a UUID kid stay below 300."""
MAX_CLAIMS: Final = 64
MAX_VALUES: Final = 512
MAX_DEPTH: Final = 10
"""Eight actors, one in the other, fit (`claims.MAX_ACTORS`)."""
MAX_KID: Final = 256
ALGORITHMS: Final = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
)
ABSENT: Final = "absent"
"""What a missing `typ` is called in the settings."""

_REFUSED_PARAMETERS: Final = frozenset(
    {
        # Keys come from the configured issuer, never from the token (RFC 8725 section 3.10, CVE-2018-0114).
        "jku",
        "jwk",
        "x5u",
        "x5c",
        # No extension is understood here, so every `crit` is refused, and `b64` with or without it (RFC 7797).
        "crit",
        "b64",
        # JWE and nested tokens.
        "zip",
        "enc",
        "epk",
        "apu",
        "apv",
        "iv",
        "tag",
        "p2s",
        "p2c",
        "cty",
    }
)
# base64url → base64; characters that only the other alphabet has become invalid.
_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_TAIL_2: Final = frozenset(b"AQgw")
_TAIL_3: Final = frozenset(b"AEIMQUYcgkosw048")
_KID: Final = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_KID}}}")


@dataclass(frozen=True, slots=True)
class Header:
    """The three header parameters that we read. `typ` is lower case without `application/`, or ABSENT."""

    alg: str
    kid: str | None
    typ: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """A well-formed token of which nothing is proved.

    `issuer` picks among the configured issuers, and `header.kid` and `header.alg` among that issuer's keys: a lie in
    them picks a key that did not sign, and the signature covers all three. Nothing else may be read before
    `tokens.TokenVerifier` has verified `signature` over `signed`; then `claims` are what the issuer said.
    """

    header: Header
    issuer: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


_headers: Final[SegmentedLru[bytes, Header]] = SegmentedLru(512)
"""Accepted headers by their encoded bytes: an issuer's tokens share theirs, and the same bytes always mean the same."""


def parse(  # noqa: PLR0911 - one return a refusal, numbered
    token: str, *, unnamed: str | None = None
) -> Unverified | Deny:
    """Judge a token's form. `unnamed`: the issuer of a token that names none, as JWT-SVIDs do; without it, refused.

    1. size: at most MAX_TOKEN characters of ASCII
    2. compact serialisation: three parts, none empty (five parts would be a JWE, a brace the JSON serialisation)
    3. header: bounded, canonical base64url, strict JSON object, no refused parameter
    4. `alg` is an asymmetric signature that we know; `typ` and `kid`, where present, are plain strings
    5. payload: canonical base64url, strict JSON object, bounded; `iss` is a string
    6. signature: canonical base64url, not empty
    """
    if len(token) > MAX_TOKEN:  # 1
        return deny("token.too_large")
    if not token.isascii():  # 1
        return deny("token.malformed", "not ASCII")
    raw = token.encode()
    parts = raw.split(b".")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - 2
        return deny("token.malformed", f"{len(parts)} parts, or an empty one; a compact JWS has three")
    header = _headers.get(parts[0]) or _header(parts[0])  # 3, 4
    if isinstance(header, Deny):
        return header
    payload = decode(parts[1])
    claims = None if payload is None else parse_object(payload, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    if claims is None or len(claims) > MAX_CLAIMS:  # 5
        return deny("token.malformed", "the payload is not base64url of one strict, bounded JSON object")
    issuer = claims.get("iss", unnamed)
    if not isinstance(issuer, str):  # 5
        return deny("token.issuer", "iss is not a string")
    signature = decode(parts[2])
    if not signature:  # 6
        return deny("token.malformed", "the signature is not base64url")
    return Unverified(header, issuer, claims, raw[: len(parts[0]) + 1 + len(parts[1])], signature)


def _header(encoded: bytes) -> Header | Deny:  # noqa: PLR0911 - one return a refusal, numbered
    if len(encoded) > MAX_HEADER:  # 3
        return deny("token.too_large", "the header")
    raw = decode(encoded)
    members = None if raw is None else parse_object(raw, max_depth=3, max_values=32)
    if members is None:  # 3
        return deny("token.malformed", "the header is not base64url of one strict, bounded JSON object")
    if refused := sorted(_REFUSED_PARAMETERS & members.keys()):  # 3
        return deny("token.header_refused", ", ".join(refused))
    alg = members.get("alg")
    if not isinstance(alg, str) or alg not in ALGORITHMS:  # 4
        return deny("token.algorithm", "not an asymmetric signature algorithm that we know")
    kid = members.get("kid")
    if "kid" in members and (not isinstance(kid, str) or not _KID.fullmatch(kid)):  # 4
        return deny("token.malformed", "kid is not a plain string")
    typ = members.get("typ", ABSENT)
    if not isinstance(typ, str):  # 4
        return deny("token.malformed", "typ is not a plain string")
    typ = typ.lower().removeprefix("application/")
    if typ == ABSENT and "typ" in members:  # 4
        return deny("token.type", "a typ that spells our word for none")
    header = Header(alg, kid, typ)
    _headers.put(encoded, header)
    return header


def decode(encoded: bytes) -> bytes | None:
    """Unpadded base64url (RFC 7515 section 2) in its one canonical form, or None.

    Unused bits of the last character must be zero: otherwise one signature has several spellings, and each spelling
    would be a new key for every cache and revocation list.
    """
    tail = len(encoded) % 4
    if tail == 1 or (tail == 2 and encoded[-1] not in _TAIL_2) or (tail == 3 and encoded[-1] not in _TAIL_3):  # noqa: PLR2004 - base64 groups of four
        return None
    try:
        return binascii.a2b_base64(encoded.translate(_TO_BASE64) + b"=" * (-tail % 4), strict_mode=True)
    except binascii.Error:
        return None
