"""Audit directories for tests: written for real, looked at and spoilt byte by byte."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from extauthz.audit.key import PublicKeys, opened
from extauthz.audit.settings import AuditSettings
from extauthz.audit.trail import AuditTrail
from extauthz.audit.verify import verify
from extauthz.clock import SystemClock
from extauthz.model import Allow, Obligations, Subject, Workload, deny
from extauthz.telemetry.trail import RouteFacts, Trail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from extauthz.audit.chain import Signed
    from extauthz.audit.verify import Result
    from extauthz.clock import Clock

ROUTE = RouteFacts(
    "read-transfer", "payments", "/v1/transfers/{id}", "extauthz/payments/decision", "transfer.read", "transfer"
)


def check(number: int = 0, *, allowed: bool = True, **facts: Any) -> Trail:
    """A finished Check."""
    trail = Trail(1_800_000_000.0 + number, "grpc")
    trail.route = ROUTE
    trail.method, trail.host, trail.path = "GET", "payments.bank.example", f"/v1/transfers/{number}"
    trail.resource_id, trail.revision, trail.source = str(number), "r1", "10.0.0.7:1"
    trail.workload = Workload("spiffe://bank.example/gateway", "bank.example")
    trail.subject = Subject(
        "user", f"user-{number % 7}", "jwt", issuer="bank", digest="0123456789abcdef", claims={"tenant": "acme"}
    )
    trail.decision = Allow(Obligations()) if allowed else deny("role.denied", "no role")
    for name, value in facts.items():
        setattr(trail, name, value)
    return trail


@asynccontextmanager
async def trail_in(
    directory: Path, *, role: str = "serve", clock: Clock | None = None, **settings: Any
) -> AsyncIterator[AuditTrail]:
    """An open trail; its key is in the directory."""
    trail = await AuditTrail.open(AuditSettings(directory=directory, **settings), role, clock or SystemClock())
    try:
        yield trail
    finally:
        await trail.close()


def public(directory: Path) -> PublicKeys:
    return PublicKeys([opened(directory / "audit.key").jwk])


def verified(directory: Path, witness: Iterable[Signed] = (), keys: PublicKeys | None = None) -> Result:
    return verify([directory], keys or public(directory), witness)


def records(directory: Path, writer: str = "serve-0") -> list[dict[str, Any]]:
    """Of the files that are not packed."""
    files = sorted(directory.glob(f"{writer}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def events(directory: Path, writer: str = "serve-0") -> list[str]:
    return [record["event"] for record in records(directory, writer)]
