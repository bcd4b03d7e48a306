"""The token service's HTTP endpoints: bytes to forms, answers to JSON. What is decided, `service` decides.

| path | client | answer |
| --- | --- | --- |
| POST `/token` | SVID; none for the development sign-in | RFC 6749 section 5 |
| POST `/introspect` | SVID | RFC 7662 section 2.2 |
| POST `/revoke` | SVID | 200, empty (RFC 7009 section 2.2) |
| POST `/events` | the event's signature | 202, empty (RFC 8935 section 2.2) |
| GET `/jwks.json`, `/.well-known/oauth-authorization-server`, `/.well-known/openid-configuration` | none | |
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extauthz.errors import ExtauthzError
from extauthz.sts import events
from extauthz.sts.answers import Issued, Refused
from extauthz.sts.events import EventRefused
from extauthz.sts.form import MAX_BODY, Form, parse
from extauthz.sts.service import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from extauthz.sts.interfaces import Client
    from extauthz.sts.service import TokenService

    ClientOf = Callable[[Request], Client | None]
    """The registered workload whose certificate the request came with; None: there is none. May raise ExtauthzError."""

log = logging.getLogger(__name__)
NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}
"""RFC 6749 section 5.1."""
BODY_SECONDS: Final = 10.0
RETRY_AFTER: Final = "1"
_PUBLIC: Final = {"cache-control": "public, max-age=60"}


def routes(service: TokenService, client_of: ClientOf) -> list[Route]:
    """Every endpoint of the token service, for a starlette application."""

    async def token(request: Request) -> Response:
        form = await _form(request)
        if isinstance(form, Refused):
            return _refusal(form)
        try:
            client = client_of(request)
        except ExtauthzError as error:
            return _refusal(_fault(error))
        answer = await service.token(client, form, local=_local(request))
        return JSONResponse(answer.body(), headers=NO_STORE) if isinstance(answer, Issued) else _refusal(answer)

    async def introspect(request: Request) -> Response:
        answer = await _asked(request, service.introspect, client_of)
        return _refusal(answer) if isinstance(answer, Refused) else JSONResponse(dict(answer or {}), headers=NO_STORE)

    async def revoke(request: Request) -> Response:
        answer = await _asked(request, service.revoke, client_of)
        return _refusal(answer) if isinstance(answer, Refused) else Response(headers=NO_STORE)

    async def event(request: Request) -> Response:
        refused = await _event(request, service)
        if isinstance(refused, EventRefused):
            return JSONResponse(refused.body(), 400, headers=NO_STORE | {"content-language": "en"})
        return refused or Response(status_code=202, headers=NO_STORE)

    async def jwks(_request: Request) -> Response:
        return JSONResponse(service.jwks(), headers=_PUBLIC, media_type="application/jwk-set+json")

    async def metadata(_request: Request) -> Response:
        return JSONResponse(dict(service.metadata), headers=_PUBLIC)

    return [
        Route("/token", token, methods=["POST"]),
        Route("/introspect", introspect, methods=["POST"]),
        Route("/revoke", revoke, methods=["POST"]),
        Route("/events", event, methods=["POST"]),
        Route("/jwks.json", jwks),
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/.well-known/openid-configuration", metadata),
    ]


async def _asked(
    request: Request,
    ask: Callable[[Client | None, Form], Awaitable[Mapping[str, Any] | Refused | None]],
    client_of: ClientOf,
) -> Mapping[str, Any] | Refused | None:
    form = await _form(request)
    if isinstance(form, Refused):
        return form
    try:
        return await ask(client_of(request), form)
    except ExtauthzError as error:
        return _fault(error)


async def _event(request: Request, service: TokenService) -> EventRefused | Response | None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != events.CONTENT_TYPE:
        return EventRefused("invalid_request", f"the body must be {events.CONTENT_TYPE}")
    body = await _body(request)
    if body is None or not body.isascii():
        return EventRefused("invalid_request", "the body is too large, or no signed token")
    try:
        return await service.event(body.decode("ascii"))
    except ExtauthzError as error:
        return _refusal(_fault(error))


def _fault(error: ExtauthzError) -> Refused:
    log.error("nothing can be answered: %s: %s", type(error).__name__, error)
    return UNAVAILABLE


async def _form(request: Request) -> Form | Refused:
    if request.url.query:  # RFC 6749 section 3.2: parameters come in the body only, so that no log has them
        return Refused("invalid_request", "parameters belong into the body")
    body = await _body(request)
    if body is None:
        return Refused("invalid_request", "the body is too large or too slow")
    return parse(body, request.headers.get("content-type", ""))


async def _body(request: Request) -> bytes | None:
    """The body, or None when it is longer than any that we take, or does not come in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    return None
    except TimeoutError:
        return None
    except ClientDisconnect:
        raise HTTPException(400) from None  # nobody reads it
    return bytes(body)


def _local(request: Request) -> bool:
    """Whether the caller is on this machine: loopback, or a Unix socket (which has no peer address)."""
    if request.client is None or not request.client.host:
        return True
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _refusal(refused: Refused) -> Response:
    headers = dict(NO_STORE)
    if refused.status == 503:  # noqa: PLR2004 - HTTP
        headers["retry-after"] = RETRY_AFTER
    return JSONResponse(refused.body(), refused.status, headers=headers)
