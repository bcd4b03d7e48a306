"""Configurations small enough to read, for inventories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.inventory import Inventory, Source

NOW = 1_800_000_000.0
MODEL = "spiffe://bank.example/env/prod/ns/model/sa/scorer"


@dataclass(frozen=True)
class Demo:
    """The inventory of the demo's configurations."""

    files: list[Path]
    sources: tuple[Source, ...]
    inventory: Inventory


def server(**changes: Any) -> dict[str, Any]:
    """A server with one route, which the scorer alone may call."""
    route = {
        "name": "read-features",
        "match": {"methods": ["GET"], "path": "/features"},
        "workloads": [MODEL],
        "token": {"issuers": ["main"], "audiences": ["storage"]},
        "action": "features.read",
        "resource": {"type": "features"},
        "policy": "extauthz/features/decision",
    }
    settings: dict[str, Any] = {
        "version": 1,
        "environment": "prod",
        "workload": {"trust_domains": {"bank.example": {}}, "registered": [MODEL]},
        "issuers": [
            {
                "name": "main",
                "issuer": "https://issuer.example",
                "algorithms": ["ES256"],
                "jwks": {"url": "https://issuer.example/jwks.json"},
            }
        ],
        "telemetry": {"records": {"labels": {"zone": "storage"}}},
        "policy": {"path": "policies"},
        "routes": [{**route, **changes.pop("route", {})}],
    }
    return {**settings, **changes}
