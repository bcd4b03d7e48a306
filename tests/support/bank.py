"""A whole worker in this process, on real parts: shipped policies, real OPA, real keys and certificates.

Only Envoy is not there: a test writes the CheckRequest that Envoy would send. The clock stands still until moved.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from extauthz.app import Application
from extauthz.check.messages import CheckRequest, CheckResponse
from extauthz.clock import ManualClock
from extauthz.shared import SharedParts
from tests.support.certs import EPOCH, Leaf, TestCa
from tests.support.tokens import Issuer

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICIES = Path(__file__).parents[2] / "policies"
GATEWAY = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
AUDIENCE = "https://orchestration.bank.example"
TRANSFER = {"amount": 1200, "currency": "EUR", "type": "wire", "tenant": "acme", "region": "eu"}


def route(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "match": {"path": "/v1/transfers", "methods": ["POST"]},
        "workloads": [GATEWAY],
        "token": {"issuers": ["main"], "audiences": [AUDIENCE]},
        "action": "transfer.create",
        "resource": {"type": "transfer"},
        "attributes": [
            {
                "source": "transfer",
                "to": {
                    f"resource.properties.{name}": name for name in (*TRANSFER, "transaction_type") if name != "type"
                },
            }
        ],
        "policy": "extauthz/payments/decision",
        **changes,
    }


def settings(engine: str, **changes: Any) -> dict[str, Any]:
    return {
        "environment": "prod",
        "workload": {"trust_domains": {"bank.example": {}}, "xfcc": "last"},
        "issuers": [
            {
                "name": "main",
                "issuer": "https://issuer.example",
                "algorithms": ["ES256"],
                "jwks": {"file": "jwks.json"},
                "claims": {"roles": "roles", "tenant": "tenant", "region": "region"},
            }
        ],
        "revocation": {"file": "revoked.json"},
        "attributes": {
            "sources": [
                {
                    "kind": "request",
                    "name": "transfer",
                    "fields": {
                        "amount": {"from": "body:/amount", "type": "number"},
                        "currency": {"from": "body:/currency"},
                        "transaction_type": {"from": "body:/type"},
                        "tenant": {"from": "body:/tenant"},
                        "region": {"from": "body:/region"},
                    },
                }
            ]
        },
        "policy": {"engine": engine, "path": str(POLICIES)},
        "telemetry": {"records": {"output": "./records.jsonl", "interval": "1ms"}},
        "routes": [route("create-transfer")],
        **changes,
    }


class Ticking(ManualClock):
    """Tokens stay what they are; deadlines and pauses are real."""

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Answer:
    """What Envoy would make of a CheckResponse. `status` 200 is an allow."""

    status: int
    layer: str
    code: str
    headers: dict[str, str]
    removed: list[str]
    body: str
    metadata: dict[str, Any]


@dataclass
class Bank:
    directory: Path
    run_dir: Path
    shared: SharedParts
    app: Application
    clock: ManualClock
    issuer: Issuer
    ca: TestCa = field(default_factory=TestCa)
    closed: bool = False
    _leaves: dict[str, Leaf] = field(default_factory=dict)

    def leaf(self, spiffe_id: str = GATEWAY) -> Leaf:
        if spiffe_id not in self._leaves:
            self._leaves[spiffe_id] = self.ca.leaf(spiffe_id)
        return self._leaves[spiffe_id]

    def token(self, **claims: Any) -> str:
        return self.issuer.token(**{"aud": AUDIENCE, "roles": ["wire-operator"], "region": "eu", **claims})

    async def ask(
        self,
        token: str | None = None,
        *,
        caller: str = GATEWAY,
        body: Mapping[str, Any] | bytes = TRANSFER,
        headers: Mapping[str, str] | None = None,
        budget: float = 0.5,
        **http: Any,
    ) -> Answer:
        """`token` None: a good one; empty: no Authorization header. `caller` empty: no peer."""
        message = CheckRequest()
        source = message.attributes.source
        if caller:
            source.principal = caller
            source.certificate = self.leaf(caller).envoy
        request = message.attributes.request.http
        request.method = http.get("method", "POST")
        request.path = http.get("path", "/v1/transfers")
        request.host = http.get("host", "orchestration.bank.example")
        request.raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.headers["content-type"] = "application/json"
        if token != "":
            request.headers["authorization"] = f"Bearer {token or self.token()}"
        for name, value in (headers or {}).items():
            request.headers[name] = value
        message.attributes.context_extensions["route"] = http.get("route", "create-transfer")
        return read(await self.app.check(message.SerializeToString(), budget))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "records.jsonl").read_text().splitlines()]

    def write(self, **changes: Any) -> None:
        """A new configuration file; nothing reads it before a reload."""
        write_files(self.directory, self.issuer, settings(self.shared.config.policy.engine, **changes))

    async def reload(self) -> list[str]:
        """As the parent of a worker does it."""
        await self.shared.prepare()
        problems = await self.app.reload()
        await (self.shared.abandon() if problems else self.shared.commit())
        return problems

    def use_engine(self, engine: Any) -> None:
        """Another engine behind everything else; the cache is out of the way."""
        active = self.app._active
        assert active is not None
        active.pipeline._policy._engine = engine

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        await self.app.stop()
        await self.shared.stop()


def read(message: bytes) -> Answer:
    response = CheckResponse.FromString(message)
    metadata = dict(response.dynamic_metadata)
    if response.status.code == 0:
        ok = response.ok_response
        headers = {option.header.key: option.header.value for option in ok.headers}
        return Answer(200, "", "", headers, list(ok.headers_to_remove), "", metadata)
    denied = response.denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    code = response.status.message
    return Answer(denied.status.code, code.partition(".")[0], code, headers, [], denied.body, metadata)


def write_files(directory: Path, issuer: Issuer, config: dict[str, Any]) -> None:
    (directory / "jwks.json").write_text(json.dumps(issuer.jwks()))
    if not (directory / "revoked.json").exists():
        (directory / "revoked.json").write_text("{}")
    (directory / "extauthz.yaml").write_text(yaml.safe_dump(config))


async def open_bank(
    directory: Path, engine: str = "embedded", *, clock: ManualClock | None = None, **changes: Any
) -> Bank:
    issuer = Issuer()
    write_files(directory, issuer, settings(engine, **changes))
    run_dir = directory / "run"
    run_dir.mkdir(mode=0o700)
    clock = clock or ManualClock(EPOCH)
    shared = SharedParts(directory / "extauthz.yaml", run_dir, clock)
    await shared.start()
    app = Application(run_dir, transport="test", clock=clock)
    await app.start()
    return Bank(directory, run_dir, shared, app, clock, issuer)
