"""Audit directories as a platform leaves them: a transfer through four zones and the authority, from real trails."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extauthz.audit import records
from extauthz.audit.chain import Chain
from extauthz.audit.layout import path_of
from extauthz.audit.mask import Masking
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, STORAGE, TRUST_DOMAIN, Zone
from extauthz.model import Allow, Deny, Subject, Workload
from extauthz.sts.mint import Grant, _record
from extauthz.telemetry.trail import ExchangeFacts, RouteFacts, Trail
from tests.support.attribute_questions import request

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
STEP = 0.125
"""Seconds; a time that floats tell exactly."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ISSUER = "https://authority.bank.example"
NO_MASKING = Masking((), (), b"")
PATH = (EDGE, ORCHESTRATION, MODEL, STORAGE)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]


@dataclass
class Server:
    """One writer and its directory. `skew`: seconds that its clock is ahead."""

    directory: Path
    writer: str = "serve-0"
    skew: float = 0.0
    number: int = 1
    lines: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._chain = Chain(self.writer)

    def decided(self, trail: Trail) -> str:
        trail.started += self.skew
        trail.trace()
        self.lines.append(self._chain.sealed(records.decision(trail, NO_MASKING)))
        return trail.decision_id

    def told(self, event: str, fields: dict[str, Any], now: float) -> None:
        self.lines.append(self._chain.sealed(records.event(event, fields, now + self.skew, NO_MASKING)))

    def save(self) -> Path:
        """All of it in the file with the current number."""
        path = path_of(self.directory, self.writer, self.number)
        path.write_bytes(b"".join(self.lines))
        return path

    def rotate(self) -> None:
        """What was told so far becomes a packed file."""
        path = self.save()
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(b"".join(self.lines)))
        path.unlink()
        self.lines.clear()
        self.number += 1


def trail(
    at: float,
    zone: Zone,
    route: str,
    subject: Subject | None,
    workload: str = "",
    decision: Allow | Deny | None = None,
    *,
    trace: str = TRACE,
) -> Trail:
    """A finished Check, `at` seconds after `NOW`."""
    made = Trail(NOW + at, "grpc")
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} if trace else {}
    made.describe(request(headers=headers))
    made.route = RouteFacts(
        route, zone.service, f"/v1/{route}", "extauthz/payments/decision", "transfer.create", "transfer"
    )
    made.subject, made.decision = subject, decision or Allow()
    made.workload = Workload(workload, TRUST_DOMAIN) if workload else None
    made.resource_id, made.revision, made.engine = "T-1", "policies-7", "embedded"
    return made


def alice(token: str, *act: str, audience: str = "") -> Subject:
    return Subject(
        "user", "alice", "jwt", issuer=ISSUER, digest=digest(token), token_id=f"jti-{token}", purpose="payment",
        claims={"tenant": "acme"}, act=act, audience=(audience,),
    )  # fmt: skip


def exchanged(
    old: str, new: str, to: Zone, actors: tuple[str, ...], ancestors: tuple[str, ...], at: float
) -> dict[str, Any]:
    """What the authority records of an exchange (`sts.exchange`, `sts.mint`, `authority.audit`)."""
    grant = Grant(
        subject="alice", subject_type="user", client_id=actors[0], audience=to.audience, scopes=frozenset({"transfers"}),
        purpose="payment", expires=int(NOW + at + 60), chain=actors, ancestors=ancestors,
    )  # fmt: skip
    whole = hashlib.sha256(old.encode()).hexdigest()
    facts = {"subject_digest": whole, "subject_issuer": ISSUER, "policy_revision": "policies-7", "trace_id": TRACE}
    return {"workload": actors[0], **facts, **_record(grant, {"jti": f"jti-{new}"}, new), "opaque": False}


@dataclass
class Bank:
    """A transfer of alice's from the edge to the feature store; who records where. Times are `STEP` apart."""

    root: Path
    servers: dict[str, Server] = field(default_factory=dict)
    decisions: dict[str, str] = field(default_factory=dict)
    """By `<zone> in` and `<zone> out`."""

    def __post_init__(self) -> None:
        for zone in PATH:
            self.servers[zone.name] = Server(self.root / zone.name)
        self.servers["authority"] = Server(self.root / "authority", "authority-0")

    @property
    def authority(self) -> Server:
        return self.servers["authority"]

    def signed_in(self, at: float = -5.0) -> None:
        grant = Grant("alice", "user", "development", EDGE.audience, frozenset(), "payment", int(NOW + 300))
        self.authority.told(
            "token.issued", {"grant": "development", **_record(grant, {"jti": "jti-T0"}, "T0")}, NOW + at
        )

    def transfer(self, *, last: Deny | None = None, trace: str = TRACE, cached: bool = False) -> None:
        """The whole way; `last` refuses at the store. `cached`: the edge has T1 already, and nothing is exchanged."""
        at = 0.0
        actors: tuple[str, ...] = ()
        ancestors: tuple[str, ...] = ()
        for number, zone in enumerate(PATH):
            server, token = self.servers[zone.name], f"T{number}"
            subject = alice(token, *actors, audience=zone.audience)
            caller = actors[0] if actors else ""
            decision = last if last is not None and zone is STORAGE else Allow()
            came = trail(at, zone, f"{zone.kind}-in", subject, caller, decision, trace=trace)
            self.decisions[f"{zone.name} in"] = server.decided(came)
            if zone is STORAGE:
                return
            to, made = PATH[number + 1], f"T{number + 1}"
            going = trail(at + STEP, zone, f"{zone.kind}-out", subject, zone.id, trace=trace)
            going.exchange = ExchangeFacts(to.audience, zone.id, "payment", digest(made), f"jti-{made}")
            going.exchange_cached = cached and zone is EDGE
            self.decisions[f"{zone.name} out"] = server.decided(going)
            actors, ancestors = (zone.id, *actors), (*ancestors, f"jti-{token}")
            if not going.exchange_cached:
                told = exchanged(token, made, to, actors, ancestors, at + 2 * STEP)
                self.authority.told("token.exchanged", told | {"trace_id": trace}, NOW + at + 2 * STEP)
            at += 3 * STEP

    def save(self) -> list[Path]:
        """The directories."""
        for server in self.servers.values():
            server.save()
        return [server.directory for server in self.servers.values()]
