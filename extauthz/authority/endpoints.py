"""The authority's HTTP endpoints: bytes to values, values to JSON. What is decided, `workloads` decides.

| path | caller | answer |
| --- | --- | --- |
| POST `/v1/attest` | evidence | `{"spiffe_id", "certificate_chain", "expires_at", "trust"}` |
| POST `/v1/renew` | SVID | the same |
| POST `/v1/jwt-svid` | SVID | `{"token", "expires_at"}` |
| GET `/v1/trust` | SVID | `{"sequence", "trust_domains"}`, held open |
| GET `/v1/revocations` | SVID | `{"sequence", "complete", "entries"}`, held open |
| GET `/bundle` | anybody | the SPIFFE bundle of the trust domain |
| GET `/healthz`, `/readyz`, `/metrics` | anybody | |

A refusal is `{"error", "message", "remedy"}`; a fault is 503 with `retry-after`.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from extauthz import strict_json
from extauthz.attestation.attestor import MAX_EVIDENCE
from extauthz.authority.http import body
from extauthz.authority.refusal import Refusal, refusal
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import UnionType

    from starlette.requests import Request
    from starlette.types import ExceptionHandler

    from extauthz.authority.metrics import AuthorityMetrics
    from extauthz.authority.peers import Peer, Peers
    from extauthz.authority.polls import Polls
    from extauthz.authority.revocations import RevocationBook
    from extauthz.authority.workloads import Identity, Workloads
    from extauthz.ca.certificate_authority import CertificateAuthority

log = logging.getLogger(__name__)

MAX_BODY: Final = 2 * MAX_EVIDENCE + 32 * 1024
"""Bytes: evidence and certificate request, with JSON's escapes."""
MAX_DEPTH: Final = 4
_NO_STORE: Final = {"cache-control": "no-store"}
_RETRY: Final = {**_NO_STORE, "retry-after": "1"}
_PUBLIC: Final = {"cache-control": "public, max-age=10"}
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Readiness(Protocol):
    async def ready(self) -> dict[str, bool]:
        """Part → whether it would do its work now."""


class Endpoints:
    """One handler an endpoint; `routes` are for a starlette application."""

    def __init__(
        self,
        trust_domain: str,
        *,
        ca: CertificateAuthority,
        peers: Peers,
        workloads: Workloads,
        revocations: RevocationBook,
        polls: Polls,
        longest_poll: float,
        metrics: AuthorityMetrics,
        readiness: Readiness,
    ) -> None:
        self._trust_domain = trust_domain
        self._ca = ca
        self._peers = peers
        self._workloads = workloads
        self._revocations = revocations
        self._polls = polls
        self._longest_poll = longest_poll
        self._metrics = metrics
        self._readiness = readiness

    def routes(self) -> list[Route]:
        return [
            Route("/v1/attest", self._attest, methods=["POST"]),
            Route("/v1/renew", self._for_peers(self._renew), methods=["POST"]),
            Route("/v1/jwt-svid", self._for_peers(self._jwt_svid), methods=["POST"]),
            Route("/v1/trust", self._for_peers(self._trust)),
            Route("/v1/revocations", self._for_peers(self._revoked)),
            Route("/bundle", self._bundle),
            Route("/healthz", _healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics_page),
        ]

    def _for_peers(
        self, handler: Callable[[Request, Peer], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """`handler` for callers whose certificate is good at this moment."""

        async def checked(request: Request) -> Response:
            peer = await self._peers.verify(request.state.peer_certificate)
            if isinstance(peer, Refusal):
                return refused(await self._workloads.refused_peer(peer))
            return await handler(request, peer)

        return checked

    async def _attest(self, request: Request) -> Response:
        asked = await members(request, attestor=str, evidence=str, csr=str)
        if isinstance(asked, Refusal):
            return refused(asked)
        if not _NAME.fullmatch(asked["attestor"]):
            return refused(refusal("authority.malformed", "attestor"))
        return _identity(await self._workloads.attest(asked["attestor"], asked["evidence"], asked["csr"]))

    async def _renew(self, request: Request, peer: Peer) -> Response:
        asked = await members(request, csr=str)
        return (
            refused(asked) if isinstance(asked, Refusal) else _identity(await self._workloads.renew(peer, asked["csr"]))
        )

    async def _jwt_svid(self, request: Request, peer: Peer) -> Response:
        asked = await members(request, audience=list)
        if isinstance(asked, Refusal):
            return refused(asked)
        if not all(isinstance(name, str) for name in asked["audience"]):
            return refused(refusal("authority.audience"))
        made = await self._workloads.jwt_svid(peer, asked["audience"])
        if isinstance(made, Refusal):
            return refused(made)
        return JSONResponse({"token": made.token, "expires_at": made.expires_at}, headers=_NO_STORE)

    async def _trust(self, request: Request, peer: Peer) -> Response:
        """`acknowledged`: what this agent has in force. `instance` tells agents of one SPIFFE ID apart, also over a
        renewal; without it, their certificates do."""
        asked = _numbers(request, "after", "wait", "acknowledged")
        instance = request.query_params.get("instance", peer.x5t)
        if isinstance(asked, Refusal) or not _INSTANCE.fullmatch(instance):
            return refused(refusal("authority.malformed", "query"))
        if asked["acknowledged"] is not None:
            await self._ca.acknowledge(f"{peer.spiffe_id}#{instance}", asked["acknowledged"])
        after, wait = asked["after"], self._wait(asked["wait"])
        trust = self._ca.trust()
        if after is not None and after >= trust.sequence and wait > 0:  # greater: another replica was ahead of us
            with self._polls.place(peer.spiffe_id) as granted:
                if not granted:
                    return refused(refusal("authority.polls"))
                trust = await self._polls.hold(request, self._ca.wait(trust.sequence, wait)) or self._ca.trust()
        return JSONResponse(trust.as_json(), headers=_NO_STORE)

    async def _revoked(self, request: Request, peer: Peer) -> Response:
        asked = _numbers(request, "after", "wait")
        if isinstance(asked, Refusal):
            return refused(asked)
        after, wait = asked["after"] or 0, self._wait(asked["wait"])
        page = await self._revocations.page(after, 0)
        if page.complete and not page.entries and wait > 0:
            with self._polls.place(peer.spiffe_id) as granted:
                if not granted:
                    return refused(refusal("authority.polls"))
                page = await self._polls.hold(request, self._revocations.page(after, wait)) or page
        return JSONResponse(page.plain(), headers=_NO_STORE)

    async def _bundle(self, _request: Request) -> Response:
        return JSONResponse(dict(self._ca.trust().trust_domains[self._trust_domain]), headers=_PUBLIC)

    async def _readyz(self, request: Request) -> Response:
        parts = await self._readiness.ready()
        status = 200 if all(parts.values()) else 503
        if "verbose" in request.query_params:
            return JSONResponse(parts, status)
        return PlainTextResponse("ready\n" if status == 200 else "not ready\n", status)  # noqa: PLR2004 - HTTP

    async def _metrics_page(self, _request: Request) -> Response:
        return Response(self._metrics.render(), media_type=CONTENT_TYPE_LATEST)

    def _wait(self, asked: int | None) -> float:
        return min(float(asked or 0), self._longest_poll)


def application(routes: list[Route]) -> Starlette:
    handlers: dict[Any, ExceptionHandler] = {ExtauthzError: _fault}
    return Starlette(routes=routes, exception_handlers=handlers)


def refused(found: Refusal) -> Response:
    headers = _RETRY if found.status in {429, 503} else _NO_STORE
    return JSONResponse(found.body(), found.status, headers=headers)


def _identity(made: Identity | Refusal) -> Response:
    return refused(made) if isinstance(made, Refusal) else JSONResponse(made.body(), headers=_NO_STORE)


async def members(request: Request, **wanted: type | UnionType) -> dict[str, Any] | Refusal:
    """A strict JSON object of exactly these members; one that may be None may be missing as well."""
    try:
        raw = await body(request, MAX_BODY)
    except ClientDisconnect:
        raise HTTPException(400) from None  # nobody reads it
    if raw is None:
        return refusal("authority.too_large")
    try:
        root = strict_json.parse(raw, max_bytes=MAX_BODY, max_depth=MAX_DEPTH).root
    except strict_json.NotStrict as error:
        return refusal("authority.malformed", str(error))
    needed = {name for name, kind in wanted.items() if not isinstance(None, kind)}
    if not isinstance(root, dict) or not needed <= root.keys() <= wanted.keys():
        return refusal("authority.malformed", "members")
    if not all(isinstance(root.get(name), kind) for name, kind in wanted.items()):
        return refusal("authority.malformed", "types")
    return {name: root.get(name) for name in wanted}


def _numbers(request: Request, *names: str) -> dict[str, int | None] | Refusal:
    found: dict[str, int | None] = {}
    for name in names:
        text = request.query_params.get(name)
        if text is not None and not _NUMBER.fullmatch(text):
            return refusal("authority.malformed", name)
        found[name] = None if text is None else int(text)
    return found


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _fault(_request: Request, error: Exception) -> Response:
    """What could not be asked, made or recorded; nothing was given out."""
    log.error("nothing can be answered: %s: %s", type(error).__name__, error)
    return refused(refusal("authority.unavailable"))
