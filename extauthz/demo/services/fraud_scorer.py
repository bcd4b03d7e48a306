"""The model zone's service: scores a transfer against the tenant's history, and explains a score to whoever may ask.

The two are separate audiences: a token for scoring explains nothing, and one for explaining reads no features.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.clock import Clock, SystemClock
from extauthz.demo.services import http, scoring
from extauthz.demo.services.hop import NextZone, Refused, hand_on
from extauthz.demo.services.scoring import MODEL, VERSION, Past, score

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request


def app(settings: Mapping[str, Any], clock: Clock | None = None) -> Starlette:
    """`POST /v1/score`: `{tenant, transaction_type, amount, counterparty}` → `{score, reasons, features, model, …}`;
    `POST /v1/explain`: `{features}` → `{explanation}`.
    """
    storage = NextZone(settings)
    time = clock or SystemClock()

    async def judge(request: Request) -> JSONResponse:
        http.caller(request)
        if request.path_params.get("version", VERSION) != VERSION:
            raise HTTPException(404, "this version of the model is not served here")
        asked = await http.json_object(request)
        tenant, kind = http.text(asked, "tenant"), http.text(asked, "transaction_type")
        path = f"/v1/features/{quote(tenant, safe='')}/{quote(kind, safe='')}"
        stored = await storage.call(request, "GET", path)
        rows = _history(stored)
        hour = datetime.fromtimestamp(time.now(), UTC).hour
        result = score(http.number(asked, "amount"), http.text(asked, "counterparty"), hour, rows)
        return JSONResponse(
            {
                "score": result.value,
                "reasons": result.reasons,
                "features": result.features,
                "model": {"name": MODEL, "version": VERSION},
                "rows": len(rows),
                "hops": [{"service": "fraud-scorer", **http.credential(request)}, *stored.get("hops", [])],
            }
        )

    async def explain(request: Request) -> JSONResponse:
        http.caller(request)
        asked = await http.json_object(request)
        features = asked.get("features")
        if not isinstance(features, dict):
            raise HTTPException(400, "features: an object is expected")
        words = scoring.explain({name: http.number(features, name) for name in scoring.FEATURES if name in features})
        seen = {"service": "risk-explanation", **http.credential(request)}
        return JSONResponse({"explanation": words, "hops": [seen]})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await storage.close()

    return Starlette(
        routes=[
            Route("/v1/score", judge, methods=["POST"]),
            Route("/v1/score/{version}", judge, methods=["POST"]),
            Route("/v1/explain", explain, methods=["POST"]),
        ],
        exception_handlers={HTTPException: http.refused, Refused: hand_on},
        lifespan=lifespan,
    )


def _history(answer: Mapping[str, Any]) -> list[Past]:
    rows = answer.get("rows")
    if not isinstance(rows, list):
        raise HTTPException(502, "the feature store's answer cannot be read")
    return [
        Past(http.number(row, "amount"), http.text(row, "counterparty"), http.number(row, "age_minutes"))
        for row in rows
    ]
