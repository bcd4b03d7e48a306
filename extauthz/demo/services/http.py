"""What every service shares: bounded JSON bodies, and who calls.

A service believes the `x-extauthz-*` headers and nothing else about its caller: its Envoy removed every copy that came
with the request, and set them only after the authorization server allowed it. Only that Envoy reaches the socket.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MAX_BODY: Final = 16384
"""Bytes; the Envoys cut at the same length."""
MAX_ACTORS: Final = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """What the authorization server says of the caller of this request."""

    decision_id: str
    subject: str
    tenant: str
    workload: str
    purpose: str
    mask: frozenset[str]
    """Names of fields that must not be shown."""


def caller(request: Request) -> Caller:
    """Raises HTTPException 403 for a request that no Envoy of ours let through."""
    headers = request.headers
    decision_id = headers.get("x-extauthz-decision-id", "")
    if not decision_id:
        raise HTTPException(403, "this request was not authorized by the zone's Envoy")
    return Caller(
        decision_id,
        headers.get("x-extauthz-subject", ""),
        headers.get("x-extauthz-tenant", ""),
        headers.get("x-extauthz-workload", ""),
        headers.get("x-extauthz-purpose", ""),
        frozenset(filter(None, headers.get("x-extauthz-mask", "").split(","))),
    )


def credential(request: Request) -> dict[str, Any]:
    """What the request's token shows on its face, for the demonstration: its digest, audience, purpose, actors.

    Nothing is decided by it: the zone's Envoy had the token verified before this service saw it.
    """
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    shown: dict[str, Any] = {"digest": hashlib.sha256(token.encode()).hexdigest()[:16]}
    payload = token.split(".")[1] if token.count(".") == 2 else ""  # noqa: PLR2004 - a compact JWS
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return shown  # opaque
    actors: list[Any] = []
    actor = claims.get("act")
    while isinstance(actor, dict) and len(actors) < MAX_ACTORS:
        actors.append(actor.get("sub"))
        actor = actor.get("act")
    return {
        **shown,
        **{name: claims.get(name) for name in ("iss", "aud", "sub", "scope", "purpose")},
        "lifetime": claims.get("exp", 0) - claims.get("iat", 0),
        "bound": "cnf" in claims,
        "actors": actors,
    }


async def body(request: Request) -> bytes:
    """The body. Raises HTTPException 413 beyond `MAX_BODY`."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise HTTPException(413, "the body is too large")
    return bytes(content)


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises HTTPException 400 or 413."""
    try:
        value = json.loads(await body(request))
    except (ValueError, RecursionError):
        raise HTTPException(400, "a JSON object is expected") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "a JSON object is expected")
    return value


def text(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A member that must be a short string. Raises HTTPException 400."""
    value = values.get(name, default)
    if not isinstance(value, str) or not value or len(value) > 128:  # noqa: PLR2004 - names, ids and codes are short
        raise HTTPException(400, f"{name}: a short string is expected")
    return value


def number(values: Mapping[str, Any], name: str) -> float:
    """A member that must be a finite number. Raises HTTPException 400."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:  # noqa: PLR2004 - NaN too
        raise HTTPException(400, f"{name}: a number is expected")
    return float(value)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """How a service says no; its own words, never the authorization server's."""
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "internal error")
    return JSONResponse({"error": detail}, status)
