"""The operator's verbs as HTTP, for the Unix socket (`operator` says which)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extauthz.authority.endpoints import members, refused
from extauthz.authority.refusal import Refusal, refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from extauthz.authority.operator import Operator

LONGEST_TTL: Final = 86400.0


class OperatorEndpoints:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def routes(self) -> list[Route]:
        return [
            Route("/status", self._status),
            Route("/entries", self._entries),
            Route("/trust", self._trust),
            Route("/rotate", self._rotate, methods=["POST"]),
            Route("/join-token", self._join_token, methods=["POST"]),
            Route("/revoke", self._revoke, methods=["POST"]),
        ]

    async def _status(self, _request: Request) -> Response:
        return JSONResponse(await self._operator.status())

    async def _entries(self, _request: Request) -> Response:
        return JSONResponse({"entries": self._operator.entries()})

    async def _trust(self, _request: Request) -> Response:
        return JSONResponse(self._operator.trust())

    async def _rotate(self, request: Request) -> Response:
        asked = await members(request, what=str, compromised=bool)
        if isinstance(asked, Refusal):
            return refused(asked)
        return _answer(await self._operator.rotate(asked["what"], compromised=asked["compromised"]))

    async def _join_token(self, request: Request) -> Response:
        asked = await members(request, entry=str, ttl=int | float, instance=str | None)
        if isinstance(asked, Refusal):
            return refused(asked)
        if not 0 < asked["ttl"] <= LONGEST_TTL:
            return refused(refusal("authority.malformed", "ttl"))
        issue = self._operator.join_token
        return _answer(await issue(asked["entry"], float(asked["ttl"]), asked["instance"] or ""))

    async def _revoke(self, request: Request) -> Response:
        asked = await members(request, kind=str, value=str, reason=str)
        if isinstance(asked, Refusal):
            return refused(asked)
        return _answer(await self._operator.revoke(asked["kind"], asked["value"], asked["reason"]))


def _answer(done: dict[str, Any] | Refusal) -> Response:
    return refused(done) if isinstance(done, Refusal) else JSONResponse(done, headers={"cache-control": "no-store"})
