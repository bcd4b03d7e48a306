"""Two hops on real parts: authority, identities, sign-in, exchange over mTLS, revocation, the authority's absence.

    alice ─token for the gateway─▶ [gateway's Envoy: Check `egress`, caller self] ─token for the orchestrator─▶
    [orchestrator's Envoy: Check `inbound`, the token bound to the gateway's certificate]

Only the Envoys are not there: a test writes the CheckRequests that they would send.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.app import Application
from extauthz.check.messages import CheckRequest
from extauthz.clock import SystemClock
from extauthz.shared import SharedParts
from extauthz.sts.answers import SIGN_IN
from tests.support import authority as authorities
from tests.support import parts
from tests.support.bank import Answer, read
from tests.support.identities import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import RunningAuthority, Svid

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
NAME = "spiffe://bank.example/{}"
POLICY = """package extauthz.hop

# METADATA
# entrypoint: true
default decision := {"allow": false}

decision := {"allow": true} if input.context.workload.id in {"spiffe://bank.example/gateway"}
"""
STS = {
    "purposes": {"payment": ["risk-explanation"]},
    "development": {
        "users": {
            "alice": {
                "audiences": ["gateway"],
                "scopes": ["transfers:read", "transfers:write"],
                "purposes": ["payment"],
                "claims": {"tenant": "acme", "roles": ["teller"]},
            }
        }
    },
}


def configuration(authority: RunningAuthority, identity: dict[str, str], anchors: str) -> dict[str, Any]:
    def route(name: str, audience: str, **changes: Any) -> dict[str, Any]:
        token = {"issuers": ["authority"], "audiences": [audience], **changes.pop("token", {})}
        return {
            "name": name,
            "workloads": [NAME.format("gateway")],
            "token": token,
            "action": "transfer.create",
            "resource": {"type": "transfer"},
            "policy": "extauthz/hop/decision",
            **changes,
        }

    narrow = {"audience": "orchestrator", "scopes": ["transfers:read"], "purpose": "risk-explanation"}
    own = {"caller": "self", "token": {"binding": "received"}}
    return {
        "environment": "test",
        "identity": identity,
        "sts": {"url": f"{authority.url}/token", "timeout": "5s"},
        "server": {"max_deadline": "10s"},
        "outbound": {"trust_bundle": anchors},
        "workload": {
            "trust_domains": {"bank.example": {"trust_bundle": "identity", "environment": "test"}},
            "id_templates": ["/{service}"],
        },
        "issuers": [
            {
                "name": "authority",
                "issuer": authority.url,
                "algorithms": ["ES256"],
                "jwks": {"url": f"{authority.url}/jwks.json"},
                "claims": {"tenant": "tenant", "roles": "roles"},
            }
        ],
        "revocation": {"feed": {"url": f"{authority.url}/v1/revocations"}},
        "policy": {"engine": "embedded", "path": "policy"},
        "telemetry": {"records": {"output": "./records.jsonl", "interval": "1ms"}},
        "routes": [
            route("egress", "gateway", exchange=narrow, **own),
            route("wider", "gateway", exchange={**narrow, "scopes": ["payroll:write"]}, **own),
            route("elsewhere", "gateway", exchange={**narrow, "audience": "model"}, **own),
            route("transaction", "gateway", exchange={**narrow, "kind": "transaction_token"}, **own),
            route("inbound", "orchestrator", token={"binding": "required", "purposes": ["risk-explanation"]}),
        ],
    }


@dataclass
class Hop:
    """One server beside one Envoy."""

    directory: Path
    shared: SharedParts
    app: Application

    async def check(self, route: str, token: str, peer: Svid | None = None, traceparent: str = "") -> Answer:
        message = CheckRequest()
        if peer is not None:
            message.attributes.source.principal = peer.spiffe_id
            message.attributes.source.certificate = quote(leaf_pem(peer), safe="")
        http = message.attributes.request.http
        http.method, http.path, http.host = "POST", f"/{route}", "bank.example"
        http.headers["authorization"] = f"Bearer {token}"
        if traceparent:
            http.headers["traceparent"] = traceparent
        message.attributes.context_extensions["route"] = route
        return read(await self.app.check(message.SerializeToString(), 10.0))

    async def close(self) -> None:
        await self.app.stop()
        await self.shared.stop()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "records.jsonl").read_text().splitlines()]


def leaf_pem(svid: Svid) -> str:
    return svid.certificate.public_bytes(Encoding.PEM).decode()


def write_svid(directory: Path, svid: Svid) -> dict[str, str]:
    (directory / "svid.pem").write_text(svid.chain)
    key = svid.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "svid.key").write_bytes(key)
    (directory / "trust.pem").write_text(authorities.authorities(svid.trust))
    return {"certificate": "svid.pem", "private_key": "svid.key", "trust_bundle": "trust.pem"}


async def open_hop(directory: Path, authority: RunningAuthority, identity: dict[str, str]) -> Hop:
    (directory / "policy").mkdir(parents=True)
    (directory / "policy" / "hop.rego").write_text(POLICY)
    (directory / "anchors.pem").write_text(await authority.trust_pem())
    (directory / "extauthz.yaml").write_text(json.dumps(configuration(authority, identity, "anchors.pem")))
    run_dir = directory / "run"
    run_dir.mkdir(mode=0o700)
    shared = SharedParts(directory / "extauthz.yaml", run_dir, SystemClock())
    await shared.start()
    app = Application(run_dir, transport="test")
    await app.start()
    return Hop(directory, shared, app)


@dataclass
class Two:
    authority: RunningAuthority
    gateway: Hop
    orchestrator: Hop
    us: Svid
    """The gateway's identity, which its Envoy and its Check server share."""
    other: Svid
    tokens: list[str] = field(default_factory=list)

    async def sign_in(self) -> str:
        form = {"grant_type": SIGN_IN, "username": "alice", "audience": "gateway", "purpose": "payment"}
        async with self.authority.client() as http:
            answer = await http.post("/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def facts(self) -> list[dict[str, Any]]:
        """The authority's audit records."""
        directory = self.gateway.directory.parent / "authority"
        return [json.loads(line) for line in authorities.audit_text(directory).splitlines()]

    async def exchanged(self, token: str) -> str:
        answer = await self.gateway.check("egress", token)
        assert answer.status == 200, answer
        assert token not in str(answer.headers)
        return answer.headers["authorization"].removeprefix("Bearer ")


def authority_config(directory: Path) -> Path:
    """With a development sign-in; the port is known once the file is there."""
    config = authorities.write_config(directory, sts={"issuer": "https://localhost:1", **STS})
    tree = yaml.safe_load(config.read_text())
    tree["authority"]["sts"]["issuer"] = f"https://localhost:{tree['authority']['listen'].rpartition(':')[2]}"
    config.write_text(yaml.safe_dump(tree))
    return config


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    parts.require_opa()
    parts.require_embedded()
    async with authorities.started(authority_config(tmp_path / "authority")) as authority:
        us, orchestrator = await authority.attest("gateway"), await authority.attest("orchestrator")
        hops = []
        for name, svid in (("gateway", us), ("orchestrator", orchestrator)):
            (tmp_path / name).mkdir()
            hops.append(await open_hop(tmp_path / name, authority, write_svid(tmp_path / name, svid)))
        yield Two(authority, *hops, us, orchestrator)
        for hop in hops:
            await hop.close()


async def test_the_second_hop_gets_a_token_of_its_own(two: Two) -> None:
    users = await two.sign_in()
    token = await two.exchanged(users)
    claims = jwt.decode(token, options={"verify_signature": False})
    before = jwt.decode(users, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("alice", "orchestrator", "transfers:read")
    assert (claims["purpose"], claims["act"]) == ("risk-explanation", {"sub": NAME.format("gateway")})
    assert claims["cnf"] == {"x5t#S256": two.us.x5t}
    assert claims["ancestors"] == [before["jti"]]
    assert claims["exp"] <= before["exp"]
    assert await two.exchanged(users) == token
    answer = await two.orchestrator.check("inbound", token, two.us)
    assert (answer.status, answer.headers["x-extauthz-subject"]) == (200, "alice")
    transaction = await two.gateway.check("transaction", users)
    assert transaction.status == 200
    assert "authorization" in transaction.removed
    made = jwt.get_unverified_header(transaction.headers["txn-token"])
    assert made["typ"] == "txntoken+jwt"
    for hop in (two.gateway, two.orchestrator):
        await hop.close()
    egress, again, *_ = two.gateway.records()
    assert egress["exchange"] == again["exchange"]
    assert egress["exchange"]["token_id"] == claims["jti"]
    assert [egress["cached"]["exchange"], again["cached"]["exchange"]] == [False, True]
    assert two.orchestrator.records()[0]["subject"]["act"] == [NAME.format("gateway")]


async def test_the_authority_records_the_trace(two: Two) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    users = await two.sign_in()
    assert (await two.gateway.check("egress", users, traceparent=f"00-{trace}-b7ad6b7169203331-01")).status == 200
    other = await two.sign_in()
    assert (await two.gateway.check("egress", other, traceparent="00-nonsense")).status == 200
    await two.gateway.close()
    egress, begun = two.gateway.records()
    assert (egress["trace_id"], begun["trace_id"]) == (trace, begun["decision_id"].replace("-", ""))
    exchanged = [fact for fact in two.facts() if fact["event"] == "token.exchanged"]
    assert [fact["trace_id"] for fact in exchanged] == [trace, begun["trace_id"]]
    assert all("trace_id" not in fact for fact in two.facts() if fact["event"] != "token.exchanged")


@pytest.mark.attack
async def test_a17_a18_nothing_wider_and_from_nobody_else(two: Two) -> None:
    users = await two.sign_in()
    token = await two.exchanged(users)
    for holder in (two.other, await two.authority.attest("gateway")):
        refused = await two.orchestrator.check("inbound", token, holder)
        expected = "workload.route_denied" if holder is two.other else "transport.binding_mismatch"
        assert refused.code == expected
    assert (await two.orchestrator.check("inbound", users, two.us)).code == "token.audience"
    assert (await two.gateway.check("egress", token)).code == "token.audience"
    for route in ("wider", "elsewhere"):
        refused = await two.gateway.check(route, users)
        assert (refused.status, refused.code) == (403, "token.exchange_refused")
        assert "authorization" not in refused.headers


async def test_a_token_survives_the_renewal_of_its_holder(two: Two) -> None:
    token = await two.exchanged(await two.sign_in())
    renewed = await two.authority.renew(two.us)
    assert (await two.orchestrator.check("inbound", token, renewed)).status == 200
    again = await two.authority.renew(renewed)
    assert (await two.orchestrator.check("inbound", token, again)).status == 200
    assert (await two.orchestrator.check("inbound", token, two.us)).status == 200


async def test_our_own_renewal_is_followed_without_a_refusal(two: Two) -> None:
    """For a while tokens are still bound to the former certificate: Envoy's connections still show it."""
    renewed = await two.authority.renew(two.us)
    identity = two.gateway.app._active.identity  # type: ignore[union-attr]  # it is started
    assert identity is not None
    write_svid(two.gateway.directory, renewed)
    await until(lambda: identity.leaf is not None and identity.leaf.x5t == renewed.x5t)
    token = await two.exchanged(await two.sign_in())
    for holder in (two.us, renewed):
        assert (await two.orchestrator.check("inbound", token, holder)).status == 200


@pytest.mark.attack
async def test_to_revoke_the_users_token_revokes_what_came_of_it(two: Two) -> None:
    users = await two.sign_in()
    token = await two.exchanged(users)
    assert (await two.orchestrator.check("inbound", token, two.us)).status == 200
    async with two.authority.client(two.us) as http:
        assert (await http.post("/revoke", data={"token": users})).status_code == 200
    revocations = [hop.app._active.revocations for hop in (two.gateway, two.orchestrator)]  # type: ignore[union-attr]
    await until(lambda: all(known.epoch for known in revocations))
    assert (await two.orchestrator.check("inbound", token, two.us)).code == "token.revoked"
    refused = await two.gateway.check("egress", users)
    assert (refused.code, refused.headers.get("authorization")) == ("token.revoked", None)


@pytest.mark.fault
async def test_without_the_authority_what_is_there_serves_on(tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    (tmp_path / "gateway").mkdir()
    async with authorities.started(authority_config(tmp_path / "authority")) as authority:
        us = await authority.attest("gateway")
        hop = await open_hop(tmp_path / "gateway", authority, write_svid(tmp_path / "gateway", us))
        two = Two(authority, hop, hop, us, us)
        known, unknown = await two.sign_in(), await two.sign_in()
        token = await two.exchanged(known)
    try:
        assert await two.exchanged(known) == token
        refused = await hop.check("egress", unknown)
        assert (refused.status, refused.code) == (503, "engine.exchange_unavailable")
        assert "authorization" not in refused.headers
        assert (await hop.app.status())["ready"]
    finally:
        await hop.close()
