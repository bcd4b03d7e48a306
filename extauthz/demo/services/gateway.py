"""The edge's service: takes a transfer from a user and hands it to orchestration."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.demo.services import http
from extauthz.demo.services.hop import NextZone, Refused, hand_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request


def app(settings: Mapping[str, Any]) -> Starlette:
    """`POST /v1/transfers`: `{tenant, region, amount, currency, transaction_type, counterparty}` → 201, the outcome."""
    orchestration = NextZone(settings)

    async def create(request: Request) -> JSONResponse:
        caller = http.caller(request)
        wanted = await http.json_object(request)
        transfer = {
            "id": f"T-{secrets.token_hex(6)}",
            "created_by": caller.subject,
            "tenant": http.text(wanted, "tenant"),
            "region": http.text(wanted, "region"),
            "amount": http.number(wanted, "amount"),
            "currency": http.text(wanted, "currency"),
            "transaction_type": http.text(wanted, "transaction_type"),
            "counterparty": http.text(wanted, "counterparty"),
        }
        outcome = await orchestration.call(request, "POST", "/v1/transfers", transfer)
        # What this service knows of its caller is shown, so that a spoofed header would be seen.
        seen = {"subject": caller.subject, "tenant": caller.tenant, "workload": caller.workload}
        return JSONResponse({**outcome, "caller": seen, "decision_id": caller.decision_id}, 201)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await orchestration.close()

    return Starlette(
        routes=[Route("/v1/transfers", create, methods=["POST"])],
        exception_handlers={HTTPException: http.refused, Refused: hand_on},
        lifespan=lifespan,
    )
