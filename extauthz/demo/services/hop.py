"""The way to the next zone: the same request again, through the zone's own Envoy.

1. The call goes in clear text over a Unix socket to the zone's Envoy, with the Authorization header that came in. Envoy
   has it judged, and has the token exchanged for one that names the next zone as audience and this workload as actor;
   then it speaks mTLS with the zone's SVID. No service holds a key, a secret, or another's token.
2. What the next zone refuses is handed on as it is, so that the caller sees the layer and the code.
3. The caller's trace goes on. Where it named none, the one goes on that the Check of this request began, which its
   decision id tells; so every hop of a request is found by one trace id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_HOP_TIMEOUT: Final = 10.0
_HANDED_ON: Final = ("authorization", "x-request-id", "traceparent", "tracestate")
_DECISION: Final = "x-extauthz-decision-id"


class Refused(Exception):
    """The next zone said no; `response` is handed on to the caller."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class NextZone:
    """`settings`: `egress` (socket path)."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        transport = httpx.AsyncHTTPTransport(uds=settings["egress"])
        self._envoy = httpx.AsyncClient(
            transport=transport, base_url="http://next-zone", timeout=_HOP_TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        await self._envoy.aclose()

    async def call(self, request: Request, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """The next zone's JSON object. Raises Refused, or HTTPException 502 when there is no answer."""
        # 1.
        headers = handed_on(request.headers)
        try:
            response = await self._envoy.request(method, path, json=content, headers=headers)
        except httpx.HTTPError:
            raise HTTPException(502, "the next zone cannot be reached") from None
        # 2.
        if response.status_code >= 300:  # noqa: PLR2004 - neither an answer nor a refusal is a redirect
            kept = {k: v for k, v in response.headers.items() if k in {"content-type", "retry-after"}}
            raise Refused(Response(response.content, response.status_code, kept))
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise HTTPException(502, "the next zone's answer cannot be read")
        return value


def handed_on(came: Mapping[str, str]) -> dict[str, str]:
    """Headers of the next call, by those of the request that it is made for."""
    headers = {name: value for name in _HANDED_ON if (value := came.get(name)) is not None}
    decision = came.get(_DECISION, "")
    if not trace_context.trace_of(came.get(trace_context.HEADER)) and decision:  # 3
        trace, span = trace_context.digits(decision), trace_context.span_id(decision)
        headers[trace_context.HEADER] = trace_context.traceparent(trace, span, sampled=False)
        headers.pop("tracestate", None)
    return headers


async def hand_on(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for `Refused`."""
    return error.response if isinstance(error, Refused) else JSONResponse({"error": "internal error"}, 500)
