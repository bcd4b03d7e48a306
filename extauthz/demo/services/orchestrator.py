"""Orchestration's service: has a transfer scored and the score explained, and decides what becomes of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.demo.services import http
from extauthz.demo.services.hop import NextZone, Refused, hand_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

REVIEW_FROM: Final = 0.5
REFUSE_FROM: Final = 0.9


def outcome(score: float) -> str:
    """`accepted`, `review` or `refused`, by the fraud score (0 … 1)."""
    if score >= REFUSE_FROM:
        return "refused"
    return "review" if score >= REVIEW_FROM else "accepted"


def app(settings: Mapping[str, Any]) -> Starlette:
    """`POST /v1/transfers`: the gateway's transfer → `{transfer_id, status, fraud, explanation, hops}`."""
    model = NextZone(settings)

    async def decide(request: Request) -> JSONResponse:
        http.caller(request)
        transfer = await http.json_object(request)
        question = {
            "tenant": http.text(transfer, "tenant"),
            "region": http.text(transfer, "region"),
            "transaction_type": http.text(transfer, "transaction_type"),
            "amount": http.number(transfer, "amount"),
            "currency": http.text(transfer, "currency"),
            "counterparty": http.text(transfer, "counterparty"),
        }
        fraud = await model.call(request, "POST", "/v1/score", question)
        status = outcome(http.number(fraud, "score"))
        about = {name: question[name] for name in ("tenant", "region")}
        told = await model.call(request, "POST", "/v1/explain", {**about, "features": fraud.get("features", {})})
        hops = [{"service": "orchestrator", **http.credential(request)}, *fraud.pop("hops", []), *told.get("hops", [])]
        return JSONResponse(
            {
                "transfer_id": http.text(transfer, "id"),
                "status": status,
                "fraud": fraud,
                "explanation": told.get("explanation", []),
                "hops": hops,
            }
        )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await model.close()

    return Starlette(
        routes=[Route("/v1/transfers", decide, methods=["POST"])],
        exception_handlers={HTTPException: http.refused, Refused: hand_on},
        lifespan=lifespan,
    )
