"""Storage's service: rows of past transfers on SQLite, of one tenant and one class of transaction at a time.

Which rows are read is decided by what the authorization server set, never by the path alone; fields that it wants
masked leave this process masked.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.clock import Clock, SystemClock
from extauthz.demo.services import http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request

MASK: Final = "***"
LIMIT: Final = 200
"""Rows in an answer."""
TENANTS: Final = ("acme", "globex", "initech")
CLASSES: Final = {"wire": 4200.0, "sepa": 900.0, "card": 60.0}
"""Classes of transaction, with the amount that is usual in each."""
COLUMNS: Final = ("counterparty", "amount", "at", "iban", "holder_name", "device_id", "geo")
_SCHEMA: Final = """
CREATE TABLE transfers (
  tenant TEXT NOT NULL, class TEXT NOT NULL, counterparty TEXT NOT NULL, amount REAL NOT NULL, at REAL NOT NULL,
  iban TEXT NOT NULL, holder_name TEXT NOT NULL, device_id TEXT NOT NULL, geo TEXT NOT NULL
);
CREATE INDEX transfers_by_tenant ON transfers (tenant, class, at);
"""
_READ: Final = (
    "SELECT counterparty, amount, at, iban, holder_name, device_id, geo FROM transfers"
    " WHERE tenant = ? AND class = ? ORDER BY at DESC LIMIT ?"
)


def _rows(now: float) -> Iterator[tuple[Any, ...]]:
    """A made-up history: 150 transfers a tenant and class over the last 30 days. The same on every machine."""
    chance = random.Random(20260101)  # noqa: S311 - sample data
    for tenant in TENANTS:
        for kind, usual in CLASSES.items():
            for number in range(150):
                party = chance.randrange(40)
                yield (
                    tenant,
                    kind,
                    f"{tenant}-party-{party:02}",
                    round(chance.lognormvariate(0.0, 0.6) * usual, 2),
                    now - 3600.0 - chance.random() * 30 * 86400.0,
                    f"XX{party:02}{tenant.upper():<8}{number:06}".replace(" ", "0"),
                    f"Holder {party:02}",
                    f"device-{chance.randrange(10**6):06}",
                    f"{chance.uniform(-60, 60):.3f},{chance.uniform(-180, 180):.3f}",
                )


def create(database: Path, now: float) -> None:
    """Make the database anew, whole or not at all. `now` in seconds since the epoch."""
    beside = database.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with closing(sqlite3.connect(beside)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany(f"INSERT INTO transfers VALUES ({', '.join('?' * 9)})", _rows(now))  # noqa: S608 - marks
    beside.replace(database)


def read(database: Path, tenant: str, kind: str, mask: frozenset[str], now: float) -> list[dict[str, Any]]:
    """The newest rows, with `age_minutes` in place of the time, and every field of `mask` masked."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        found = [dict(zip(COLUMNS, row, strict=True)) for row in connection.execute(_READ, (tenant, kind, LIMIT))]
    for row in found:
        row["age_minutes"] = round((now - row.pop("at")) / 60.0, 1)
        row.update(dict.fromkeys(mask & row.keys(), MASK))
    return found


def app(settings: Mapping[str, Any], clock: Clock | None = None) -> Starlette:
    """`GET /v1/features/{tenant}/{transaction_class}` for models, `/v1/datasets/{tenant}/{dataset}` for training."""
    database, time = Path(settings["database"]), clock or SystemClock()
    if not database.exists():
        create(database, time.now())

    def answer(tenant: str, kind: str, caller: http.Caller, request: Request) -> JSONResponse:
        rows = read(database, tenant, kind, caller.mask, time.now())
        body = {"tenant": tenant, "transaction_class": kind, "masked": sorted(caller.mask), "rows": rows}
        hops = [{"service": "feature-store", **http.credential(request)}]
        return JSONResponse({**body, "hops": hops, "decision_id": caller.decision_id})

    def features(request: Request) -> JSONResponse:
        caller, asked = http.caller(request), request.path_params
        if asked["tenant"] != caller.tenant:  # the policy refuses this first; the rows are guarded twice
            raise HTTPException(403, "the rows belong to another tenant")
        return answer(caller.tenant, asked["transaction_class"], caller, request)

    def dataset(request: Request) -> JSONResponse:
        caller, asked = http.caller(request), request.path_params
        return answer(asked["tenant"], asked["dataset"].partition("-")[0], caller, request)

    return Starlette(
        routes=[
            Route("/v1/features/{tenant}/{transaction_class}", features, methods=["GET"]),
            Route("/v1/datasets/{tenant}/{dataset}", dataset, methods=["GET"]),
        ],
        exception_handlers={HTTPException: http.refused},
    )
