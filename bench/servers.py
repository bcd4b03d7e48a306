"""The authorization servers that are compared: each an `extauthz serve` of its own, on Unix sockets as in the demo."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any, Final

import yaml

from bench.tokens import ISSUER
from extauthz.demo import routes
from extauthz.demo.zones import EDGE, ENVIRONMENT, TRUST_DOMAIN

if TYPE_CHECKING:
    from pathlib import Path

    from bench.variants import Server

CRITICALITIES: Final = ("critical", "normal", "sheddable")
CLIENT: Final = EDGE.id
"""SPIFFE ID of the mTLS client: a gateway, which the policy lets create transfers for its users."""


def write(server: Server, folder: Path, policies: Path) -> list[str]:
    """Writes the server's extauthz.yaml below `folder`, and returns the command that serves it."""
    place = folder / server.name
    place.mkdir()
    file = place / "extauthz.yaml"
    file.write_text(yaml.safe_dump(settings(server, folder, policies), sort_keys=False))
    if server.null:
        return [sys.executable, "-m", "bench.null", str(file)]
    return [sys.executable, "-m", "extauthz", "serve", str(file)]


def settings(server: Server, folder: Path, policies: Path) -> dict[str, Any]:
    """The edge zone's route policy, its source and its issuer, with the keys in a file."""
    place = folder / server.name
    listen: dict[str, Any] = {
        "listen": f"unix://{place / 'check.sock'}",
        "http": f"unix://{place / 'http.sock'}",
        "transport": server.transport,
        "max_deadline": "900ms",
        "drain": "1s",
    }
    if server.null:
        return {"version": 1, "server": listen}
    if server.admission is not None:
        listen["admission"] = {"enabled": server.admission, "target": "3ms", "engine": 4}  # docs/overload.md, tight
    off = {"verifier": {"cache_entries": 16, "refused_entries": 0}}
    return {
        "version": 1,
        "environment": ENVIRONMENT,
        "server": listen,
        "workload": {"trust_domains": {TRUST_DOMAIN: {"trust_bundle": str(folder / "ca.pem")}}},
        "issuers": [
            {
                "name": routes.AUTHORITY,
                "issuer": ISSUER,
                "algorithms": ["ES256"],
                "jwks": {"file": str(folder / "jwks.json")},
                "claims": {name: name for name in ("roles", "tenant", "region", "clearance")},
                "max_lifetime": "2h",
            }
        ],
        "attributes": {"sources": routes.sources(EDGE, "")},
        "policy": {"engine": server.engine, "path": str(policies), "cache": {"enabled": server.caches}},
        "telemetry": {"records": {"output": str(records(server, folder))}, "log_level": "warning"},
        "routes": [_transfer()] if server.admission is None else _by_criticality(),
        **({} if server.caches else off),
    }


def _transfer() -> dict[str, Any]:
    """The demonstration's transfer at the edge, with tokens of one issuer."""
    route = next(route for route in routes.routes(EDGE) if route["name"] == "create-transfer")
    route = {name: value for name, value in route.items() if name != "audit"}  # there is no audit trail here
    return {**route, "token": {**route["token"], "issuers": [routes.AUTHORITY]}}


def _by_criticality() -> list[dict[str, Any]]:
    """The same route three times: what differs is who is shed first."""
    return [{**copy.deepcopy(without_match(_transfer())), "name": name, "criticality": name} for name in CRITICALITIES]


def without_match(route: dict[str, Any]) -> dict[str, Any]:
    """Reached only by its name."""
    return {name: value for name, value in route.items() if name != "match"}


def records(server: Server, folder: Path) -> Path:
    """The decision records: one line a Check, as in production."""
    return folder / server.name / "records.jsonl"
