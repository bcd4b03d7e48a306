"""What the platform knows of its data and models: the attribute source that the zones' authorization servers ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.demo.services import http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

REGIONS: Final = {"acme": "eu", "globex": "us", "initech": "us"}
"""Where a tenant's rows live."""
DATA_CLASS: Final = "confidential"
"""The class of feature rows."""
MODELS: Final = {
    "fraud": {
        "deployed": {"version": "3.1.0", "stage": "production"},
        "3.1.0": {"version": "3.1.0", "stage": "production"},
        "3.2.0": {"version": "3.2.0", "stage": "staging"},
    }
}
"""Model → version → how it is deployed; `deployed` is the one that serves unless another is named."""
DATASETS: Final = {
    "wire-2026": {"classification": "confidential", "retention_days": 365, "age_days": 30},
    "wire-2019": {"classification": "confidential", "retention_days": 365, "age_days": 2500},
    "card-raw": {"classification": "restricted", "retention_days": 90, "age_days": 12},
}


def app(_: Mapping[str, Any]) -> Starlette:
    """`GET /features/{tenant}`, `/models/{model}/{version}`, `/datasets/{tenant}/{dataset}`; 404 for the unknown."""

    async def features(request: Request) -> JSONResponse:
        return JSONResponse({"region": _known(REGIONS, request.path_params["tenant"]), "data_class": DATA_CLASS})

    async def model(request: Request) -> JSONResponse:
        name = request.path_params["model"]
        return JSONResponse({"name": name, **_known(_known(MODELS, name), request.path_params["version"])})

    async def dataset(request: Request) -> JSONResponse:
        name, tenant = request.path_params["dataset"], request.path_params["tenant"]
        return JSONResponse({"name": name, "region": _known(REGIONS, tenant), **_known(DATASETS, name)})

    return Starlette(
        routes=[
            Route("/features/{tenant}", features),
            Route("/models/{model}/{version}", model),
            Route("/datasets/{tenant}/{dataset}", dataset),
        ],
        exception_handlers={HTTPException: http.refused},
    )


def _known(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise HTTPException(404, "not in the catalogue")
    return table[name]
