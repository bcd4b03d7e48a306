"""Asks the token service for one token (RFC 8693 section 2), as whoever `outbound` shows the certificate of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import urlencode

from extauthz import strict_json
from extauthz.errors import OutboundError
from extauthz.sts.answers import ACCESS_TOKEN, EXCHANGE, TRANSACTION_TOKEN, Error, Issued, Refused

if TYPE_CHECKING:
    from extauthz.check.exchange import Wanted
    from extauthz.outbound import Outbound

MAX_ANSWER: Final = 32 * 1024
MAX_DEPTH: Final = 4
MAX_TEXT: Final = 512
_OK: Final = 200
_REFUSED: Final = frozenset({400, 401, 403})
_ERRORS: Final = frozenset(get_args(Error))
_HEADERS: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


class StsClient:
    """Implements `exchange.TokenService`."""

    def __init__(self, url: str, outbound: Outbound) -> None:
        self._url = url
        self._outbound = outbound

    async def exchange(self, subject_token: str, wanted: Wanted, *, timeout: float) -> Issued | Refused:
        """`timeout`: seconds for the whole exchange. Raises OutboundError; its text quotes nothing of the answer."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": subject_token,
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": ACCESS_TOKEN if wanted.kind == "access_token" else TRANSACTION_TOKEN,
            "audience": wanted.audience,
            "scope": " ".join(wanted.scopes),
            "purpose": wanted.purpose,
            "lifetime": "" if wanted.lifetime is None else str(int(wanted.lifetime)),
        }
        content = urlencode({name: value for name, value in form.items() if value}).encode()
        answer = await self._outbound.send(
            "POST", self._url, content=content, headers=_HEADERS, timeout=timeout, max_bytes=MAX_ANSWER
        )
        found = _object(answer.body)
        if answer.status == _OK:
            return _issued(found)
        if answer.status in _REFUSED and found.get("error") in _ERRORS:
            description = found.get("error_description")
            text = description[:MAX_TEXT] if isinstance(description, str) else ""
            return Refused(found["error"], text)
        raise OutboundError(f"the token service answered {answer.status}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = strict_json.parse(body, max_bytes=MAX_ANSWER, max_depth=MAX_DEPTH).root
    except strict_json.NotStrict:
        raise OutboundError("the token service answered no JSON") from None
    if not isinstance(found, dict):
        raise OutboundError("the token service answered no JSON object")
    return found


def _issued(answer: dict[str, Any]) -> Issued:
    """RFC 8693 section 2.2.1."""
    token, kind, scope = answer.get("access_token"), answer.get("issued_token_type"), answer.get("scope", "")
    token_type, expires_in = answer.get("token_type"), answer.get("expires_in")
    if (
        not isinstance(token, str)
        or not isinstance(kind, str)
        or not isinstance(scope, str)
        or type(expires_in) is not int
        or expires_in <= 0
    ):
        raise OutboundError("the token service's answer lacks a member")
    if token_type == "N_A":  # noqa: S105 - a word of RFC 8693
        return Issued(token, kind, "N_A", expires_in, frozenset(scope.split()))
    if isinstance(token_type, str) and token_type.lower() == "bearer":
        return Issued(token, kind, "Bearer", expires_in, frozenset(scope.split()))
    raise OutboundError("the token service issued a token of another type")
