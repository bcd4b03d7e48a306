"""The edge's service: takes a transfer from a user and hands it to orchestration; rates and limits are its own."""

from __future__ import annotations

import contextlib
import secrets
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

RATES: Final = {"EUR/USD": 1.0834, "EUR/GBP": 0.8421, "EUR/CHF": 0.9377}
"""Published once a day, for partners."""
KINDS: Final = ("wire", "sepa", "card")
_KEPT: Final = 10_000
"""Transfers that are remembered, so that they can be counted and cancelled."""


def app(settings: Mapping[str, Any]) -> Starlette:
    """`POST /v1/transfers`: `{tenant, region, amount, currency, transaction_type, counterparty}` → 201, the outcome;
    `POST /v1/transfers/{transfer}/cancel`: its tenant, region and class → it is cancelled; `GET /v1/usage/{tenant}` →
    how many transfers it made; `GET /v1/rates` → `{rates}`; `PUT /v1/limits/{kind}`: `{amount}` → the limit;
    `POST /v1/events`: `{tenant, name}`, what an app noticed → 202.
    """
    orchestration = NextZone(settings)
    made: dict[str, str] = {}  # id → tenant

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
        made[str(transfer["id"])] = str(transfer["tenant"])
        if len(made) > _KEPT:
            del made[next(iter(made))]
        # What this service knows of its caller is shown, so that a spoofed header would be seen.
        seen = {"subject": caller.subject, "tenant": caller.tenant, "workload": caller.workload}
        hops = [{"service": "gateway", **http.credential(request)}, *outcome.get("hops", [])]
        return JSONResponse({**outcome, "hops": hops, "caller": seen, "decision_id": caller.decision_id}, 201)

    async def cancel(request: Request) -> JSONResponse:
        caller, number = http.caller(request), request.path_params["transfer"]
        # The tenant that was judged is the one whose transfer is cancelled.
        if made.get(number) != http.text(await http.json_object(request), "tenant"):
            raise HTTPException(404, "no such transfer")
        return _answer(request, caller, {"id": number, "status": "cancelled"})

    def usage(request: Request) -> JSONResponse:
        caller, tenant = http.caller(request), request.path_params["tenant"]
        return _answer(request, caller, {"tenant": tenant, "transfers": list(made.values()).count(tenant)})

    limits: dict[str, float] = {}

    def rates(request: Request) -> JSONResponse:
        return _answer(request, http.caller(request), {"rates": RATES})

    async def limit(request: Request) -> JSONResponse:
        caller, kind = http.caller(request), request.path_params["kind"]
        amount = http.number(await http.json_object(request), "amount")
        if kind not in KINDS:
            raise HTTPException(404, "no such limit")
        limits[kind] = amount
        return _answer(request, caller, {"kind": kind, "amount": amount})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await orchestration.close()

    return Starlette(
        routes=[
            Route("/v1/transfers", create, methods=["POST"]),
            Route("/v1/transfers/{transfer}/cancel", cancel, methods=["POST"]),
            Route("/v1/usage/{tenant}", usage, methods=["GET"]),
            Route("/v1/rates", rates, methods=["GET"]),
            Route("/v1/limits/{kind}", limit, methods=["PUT"]),
            Route("/v1/events", _event, methods=["POST"]),
        ],
        exception_handlers={HTTPException: http.refused, Refused: hand_on},
        lifespan=lifespan,
    )


async def _event(request: Request) -> JSONResponse:
    caller = http.caller(request)
    noticed = await http.json_object(request)
    body = {"tenant": http.text(noticed, "tenant"), "name": http.text(noticed, "name")}
    return _answer(request, caller, body, 202)


def _answer(request: Request, caller: http.Caller, body: Mapping[str, Any], status: int = 200) -> JSONResponse:
    """`body`, and what this service saw of its caller: `caller.token`, `caller.api_key` say whether one came along.

    `mode` says how the request was let through, where it was not by an ordinary decision.
    """
    credentials = {"token": "authorization" in request.headers, "api_key": "x-api-key" in request.headers}
    seen = {"subject": caller.subject, **credentials}
    mode = request.headers.get("x-extauthz-mode", "")
    return JSONResponse({**body, "caller": seen, "mode": mode, "decision_id": caller.decision_id}, status)
