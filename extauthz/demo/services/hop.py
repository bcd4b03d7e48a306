"""The way to the next zone: a narrowed token, then the call through the zone's own Envoy.

1. The token of the incoming request is exchanged at the issuer (RFC 8693) for one that names the next zone as audience,
   this workload as actor, and this workload's certificate as the only one that may carry it (`cnf`, RFC 8705).
2. The call goes in clear text over a Unix socket to the zone's Envoy, which speaks mTLS with the zone's SVID.
3. What the next zone refuses is handed on as it is, so that the caller sees the layer and the code.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of RFC 8693
_ISSUER_TIMEOUT: Final = 2.0
_HOP_TIMEOUT: Final = 10.0


class Refused(Exception):
    """The next zone said no; `response` is handed on to the caller."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class NextZone:
    """`settings`: `egress` (socket path), `issuer` (URL), `client_id`, `client_secret`, `next_audience`; and
    `issuer_ca` (PEM file) when the issuer's certificate is of a private authority."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        authority = settings.get("issuer_ca")
        verify = ssl.create_default_context(cafile=authority) if authority else True
        self._issuer = httpx.AsyncClient(timeout=_ISSUER_TIMEOUT, trust_env=False, verify=verify)
        transport = httpx.AsyncHTTPTransport(uds=settings["egress"])
        self._envoy = httpx.AsyncClient(
            transport=transport, base_url="http://next-zone", timeout=_HOP_TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        await self._issuer.aclose()
        await self._envoy.aclose()

    async def call(self, request: Request, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """The next zone's JSON object. Raises Refused, or HTTPException 502/503 when there is no answer."""
        # 1.
        token = await self._exchange(request.headers.get("authorization", "").removeprefix("Bearer "))
        headers = {"authorization": f"Bearer {token}"}
        if request_id := request.headers.get("x-request-id"):
            headers["x-request-id"] = request_id
        # 2.
        try:
            response = await self._envoy.request(method, path, json=content, headers=headers)
        except httpx.HTTPError:
            raise HTTPException(502, "the next zone cannot be reached") from None
        # 3.
        if response.status_code >= 300:  # noqa: PLR2004 - neither an answer nor a refusal is a redirect
            kept = {k: v for k, v in response.headers.items() if k in {"content-type", "retry-after"}}
            raise Refused(Response(response.content, response.status_code, kept))
        return _object(response, 502, "the next zone's answer cannot be read")

    async def _exchange(self, token: str) -> str:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": ACCESS_TOKEN,
            "audience": self._settings["next_audience"],
        }
        # RFC 6749 section 2.3.1: form-encoded first, so that the colons of a SPIFFE ID do not end the user name.
        credentials = (quote(self._settings["client_id"], safe=""), self._settings["client_secret"])
        try:
            response = await self._issuer.post(f"{self._settings['issuer']}/token", data=form, auth=credentials)
        except httpx.HTTPError:
            raise HTTPException(503, "the token issuer cannot be reached") from None
        answer = _object(response, 503, "the token issuer's answer cannot be read")
        if response.status_code != 200 or not isinstance(answer.get("access_token"), str):  # noqa: PLR2004
            raise HTTPException(503, "the token issuer gave no token for the next zone")
        return str(answer["access_token"])


def _object(response: httpx.Response, status: int, message: str) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise HTTPException(status, message)
    return value


async def hand_on(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for `Refused`."""
    return error.response if isinstance(error, Refused) else JSONResponse({"error": "internal error"}, 500)
