"""One question to an issuer's introspection endpoint, and its answer (RFC 7662).

An issuer is trusted for what it says of its tokens, never for how it says it: an answer is `active: true` with the rest
of its members, or `active: false`, or no answer at all.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote_plus, urlencode

from extauthz.authn.jose import MAX_DEPTH, MAX_VALUES
from extauthz.authn.json_object import parse_object
from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError
from extauthz.outbound import NOT_THERE, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.authn.settings import ClientSecretSettings, IntrospectionSettings
    from extauthz.outbound import Response

MAX_ANSWER: Final = 64 * 1024
_MAX_SECRET: Final = 4096
_OK: Final = 200
_BAD_REQUEST: Final = 400
_JSON: Final = "application/json"


class Unusable(ExtauthzError):
    """The issuer answered, and what it said is of no use.

    Not an OutboundError: who presents a token can bring this about, and must not make others wait for the issuer.
    """


class Send(Protocol):
    """`Outbound.send`: with the public authorities, or with this server's own certificate."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
    ) -> Response: ...


class IntrospectionClient:
    """Asks one issuer. Raises ConfigError when made with a client secret that cannot be had."""

    __slots__ = ("_headers", "_send", "_settings")

    def __init__(self, settings: IntrospectionSettings, send: Send) -> None:
        self._settings = settings
        self._send = send
        self._headers = {"accept": _JSON, "content-type": "application/x-www-form-urlencoded"}
        client = settings.client
        if client != "mtls":
            self._headers["authorization"] = _basic(client)

    async def ask(self, token: str, timeout: float) -> dict[str, Any] | None:
        """The members of an active answer; None when the token is not active.

        Raises OutboundError (NoAnswer when there is none), Unusable for an answer that says nothing.

        1. a POST, never to be found in a log of URLs; the answer is 200 at this very address (no redirect is followed).
           400 is said to questions about some tokens (such as a JWT that the issuer does not keep)
        2. its content type is exactly application/json: a signed answer (application/token-introspection+jwt) was not
           asked for, and a page of HTML is none
        3. it is one strict, bounded JSON object
        4. `active` is literally true or false
        """
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        response = await self._send("POST", self._settings.url, content=form, headers=self._headers, timeout=timeout)
        if response.status == _BAD_REQUEST:  # 1
            raise Unusable("refused the question with 400")
        if response.status != _OK:  # 1
            problem = f"answered {response.status}"
            raise NoAnswer(problem) if response.status in NOT_THERE else Unusable(problem)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON:  # 2
            raise Unusable("answered something else than application/json")
        small = len(response.body) <= MAX_ANSWER
        answer = parse_object(response.body, max_depth=MAX_DEPTH, max_values=MAX_VALUES) if small else None
        if answer is None:  # 3
            raise Unusable("answered something else than one strict, bounded JSON object")
        active = answer.pop("active", None)
        if active is True:  # 4
            return answer
        if active is False:  # 4
            return None
        raise Unusable("answered without a literal `active`")


def _basic(client: ClientSecretSettings) -> str:
    """`client_secret_basic`: both parts are form-encoded before they are joined (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client.id)}:{quote_plus(_secret(client))}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _secret(client: ClientSecretSettings) -> str:
    problem, place = "", str(client.secret_file or f"${client.secret_env}")
    secret = ""
    if client.secret_file is not None:
        try:
            with client.secret_file.open("rb") as file:
                secret = file.read(_MAX_SECRET + 1).decode().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problem = f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
    else:
        secret = os.environ.get(client.secret_env or "", "")
    if not problem and not 0 < len(secret) <= _MAX_SECRET:
        problem = f"holds no client secret, or one of more than {_MAX_SECRET} characters"
    if problem:
        remedy = "put the client secret there, and nothing else"
        raise ConfigError((ConfigProblem(place, 0, "introspection.client", problem, remedy),))
    return secret
