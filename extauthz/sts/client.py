"""The client half of token exchange: one question to the token endpoint, and its answer read strictly.

Whoever asks shows its certificate (mTLS): that is the business of what it hands in to send with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args
from urllib.parse import urlencode

from extauthz import strict_json
from extauthz.authn.jose import MAX_TOKEN
from extauthz.errors import OutboundError
from extauthz.sts.answers import ACCESS_TOKEN, EXCHANGE, JWT, TRANSACTION_TOKEN, Error, Issued, Refused
from extauthz.sts.form import CONTENT_TYPE
from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.outbound import Response, Sends

MAX_ANSWER: Final = 16 * 1024
MAX_LIFETIME: Final = 24 * 3600
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""b64token (RFC 6750 section 2.1): nothing that could end a header."""
_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")
_PRINTABLE: Final = re.compile(r"[ -~]{0,512}")
_ERRORS: Final[Mapping[str, Error]] = {error: error for error in get_args(Error)}
_TYPES: Final[Mapping[str, Literal["Bearer", "N_A"]]] = {
    ACCESS_TOKEN: "Bearer",
    JWT: "Bearer",
    TRANSACTION_TOKEN: "N_A",
}
_HEADERS: Final = {"content-type": CONTENT_TYPE, "accept": "application/json"}
_HTTP_OK: Final = 200
_HTTP_UNAVAILABLE: Final = 503


class Question(Protocol):
    """Which token is wanted. No scopes, no purpose, no lifetime (seconds): as the subject token has them."""

    @property
    def audience(self) -> str: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def purpose(self) -> str: ...
    @property
    def lifetime(self) -> float | None: ...
    @property
    def kind(self) -> str:
        """`access_token` or `transaction_token`."""


class ExchangeClient:
    """`url`: the token endpoint."""

    def __init__(self, url: str, post: Sends) -> None:
        self._url = url
        self._post = post

    async def exchange(
        self,
        subject_token: str,
        question: Question,
        *,
        timeout: float,
        subject_token_type: str = ACCESS_TOKEN,
        traceparent: str = "",
    ) -> Issued | Refused:
        """Ask once. `timeout`: seconds for all of it. Raises OutboundError when there is no answer that can be used.

        The subject token and the answer stand in no error text.
        """
        requested = TRANSACTION_TOKEN if question.kind == "transaction_token" else ACCESS_TOKEN
        form = {
            "grant_type": EXCHANGE,
            "subject_token": subject_token,
            "subject_token_type": subject_token_type,
            "requested_token_type": requested,
            "audience": question.audience,
            "scope": " ".join(question.scopes),
            "purpose": question.purpose,
            "lifetime": str(max(1, int(question.lifetime))) if question.lifetime else "",
        }
        content = urlencode({name: value for name, value in form.items() if value}).encode()
        headers = {**_HEADERS, trace_context.HEADER: traceparent} if traceparent else _HEADERS
        response = await self._post.send(
            "POST", self._url, content=content, headers=headers, timeout=timeout, max_bytes=MAX_ANSWER
        )
        return read(response, requested)


def read(response: Response, requested: str) -> Issued | Refused:
    """Judge an answer. Raises OutboundError for one that is neither a token nor an OAuth error.

    1. JSON, strict and bounded
    2. another status than 200 is a refusal, and says why with one of the errors that we know; 503 always means later
    3. a token of the type that was asked for, of harmless characters and bounded length, carried as its type says
    4. its lifetime is a whole number of seconds above 0
    """
    if response.status == _HTTP_UNAVAILABLE:  # 2
        return Refused("temporarily_unavailable", "the token service cannot issue anything at the moment")
    try:
        answer = strict_json.parse(response.body, max_bytes=MAX_ANSWER, max_depth=4).root
    except strict_json.NotStrict as error:  # 1
        raise OutboundError(f"the token service's answer cannot be used: {error}") from None
    if not isinstance(answer, dict):  # 1
        raise OutboundError("the token service's answer is not an object")
    if response.status != _HTTP_OK:
        return _refusal(answer, response.status)  # 2
    token, kind, lifetime = answer.get("access_token"), answer.get("issued_token_type"), answer.get("expires_in")
    if not isinstance(kind, str) or kind not in _TYPES:  # 3
        raise OutboundError("the token service answered with an unknown kind of token")
    if (kind == TRANSACTION_TOKEN) != (requested == TRANSACTION_TOKEN):  # 3
        raise OutboundError("the token service answered with another kind of token")
    if not isinstance(token, str) or len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):  # 3
        raise OutboundError("the token service answered with a malformed token")
    carried = answer.get("token_type")
    if not isinstance(carried, str) or carried.lower() != _TYPES[kind].lower():  # 3: RFC 6749 section 5.1
        raise OutboundError("the token service answered with another token_type")
    if type(lifetime) is not int or not 0 < lifetime <= MAX_LIFETIME:  # 4
        raise OutboundError("the token service answered without a lifetime")
    return Issued(token, kind, _TYPES[kind], lifetime, _scopes(answer.get("scope", "")))


def _scopes(scope: Any) -> frozenset[str]:
    names = scope.split(" ") if isinstance(scope, str) and scope else []
    if not isinstance(scope, str) or not all(map(_SCOPE.fullmatch, names)):
        raise OutboundError("the token service answered with a malformed scope")
    return frozenset(names)


def _refusal(answer: Mapping[str, Any], status: int) -> Refused:
    error, description = answer.get("error"), answer.get("error_description", "")
    known = _ERRORS.get(error) if isinstance(error, str) else None
    if known is None:
        raise OutboundError(f"the token service answered {status} without an error that we know")
    plain = isinstance(description, str) and _PRINTABLE.fullmatch(description)
    return Refused(known, description if plain else "")
