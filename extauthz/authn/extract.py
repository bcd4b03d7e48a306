"""Where a credential sits in a request: exactly one `Authorization: Bearer <token>` (RFC 6750 section 2.1), or exactly
one `Txn-Token: <token>` (transaction tokens, an IETF draft), whichever the route's rule names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extauthz.authn.jose import MAX_TOKEN
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from extauthz.authn.settings import TokenRule
    from extauthz.model import Request

AUTHORIZATION: Final = "authorization"
TXN_TOKEN: Final = "txn-token"  # noqa: S105 - the name of a header
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/=-]+)")
_PREFIX: Final = len("Bearer ")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_SCHEME: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?: (.*))?")


def bearer(request: Request) -> str | Deny | None:
    """The token, a refusal, or None when there is no Authorization header.

    The query and the body are never looked at (RFC 6750 sections 2.2 and 2.3 leave tokens in logs).
    """
    if AUTHORIZATION in request.duplicated_headers:
        return deny("request.header_duplicated", AUTHORIZATION)
    value = request.headers.get(AUTHORIZATION)
    return None if value is None else of_value(value)


def carried(request: Request, rule: TokenRule) -> str | Deny | None:
    """The token in the header that the rule names, a refusal, or None when that header is not there."""
    return bearer(request) if rule.header == AUTHORIZATION else transaction(request)


def transaction(request: Request) -> str | Deny | None:
    """The transaction token, a refusal, or None when there is no Txn-Token header."""
    if TXN_TOKEN in request.duplicated_headers:
        return deny("request.header_duplicated", TXN_TOKEN)
    value = request.headers.get(TXN_TOKEN)
    if value is None:
        return None
    if len(value) > MAX_TOKEN:
        return deny("token.too_large")
    return value if _PLAIN.fullmatch(value) else deny("token.malformed", "not one token in Txn-Token")


def of_value(value: str) -> str | Deny:
    """The token in the value of an Authorization header, or a refusal."""
    if len(value) > MAX_TOKEN + _PREFIX:
        return deny("token.too_large")
    match = _BEARER.fullmatch(value)
    return match[1] if match is not None else _refusal(value)


def _refusal(value: str) -> Deny:  # noqa: PLR0911 - one return a refusal
    """What is wrong with a value that is not a bearer token; the value itself is never repeated."""
    if not _PRINTABLE.fullmatch(value):
        return deny("request.header_malformed", "not printable ASCII")
    if "," in value:  # two headers joined by a proxy, or a scheme with parameters, which we never accept
        return deny("request.header_duplicated", "several credentials in one Authorization header")
    match = _SCHEME.fullmatch(value)
    if match is None:
        return deny("request.header_malformed", "no authentication scheme")
    if match[1].lower() != "bearer":
        return deny("token.scheme")
    if not match[2]:
        return deny("token.missing", "an empty bearer token")
    if match[2].startswith(" ") or match[2].endswith(" "):
        return deny("request.header_malformed", "spaces around the token")
    return deny("token.malformed", "characters outside of b64token")
