"""The authority over real TLS sockets: what a workload, a token client and an operator get."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509

from extauthz.keys import successor
from extauthz.sts.answers import ACCESS_TOKEN, CLIENT_CREDENTIALS, EXCHANGE
from tests.support.authority import (
    ENTRIES,
    RunningAuthority,
    Svid,
    audit_text,
    authorities,
    csr,
    entry,
    new_key,
    running,
    svid_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

FAST = {"publish_for": 0, "acknowledge_within": "30s"}


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    workers = entry("worker", exchange_to=["model"], scopes=["score"], purposes=["payment"], tenant="acme")
    async with running(tmp_path, entries=[*ENTRIES, workers], ca=FAST) as found:
        yield found


async def test_a_newcomer_becomes_somebody(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    assert svid.spiffe_id == "spiffe://bank.example/agent"
    names = svid.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [svid.spiffe_id]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert svid.expires_at == int(svid.certificate.not_valid_after_utc.timestamp())
    assert successor.read(svid.certificate).digests == ()
    async with authority.client(svid, trusted=authorities(svid.trust)) as http:
        assert (await http.get("/v1/trust")).json() == svid.trust


async def test_a_renewal_names_its_predecessor_and_nobody_else(authority: RunningAuthority) -> None:
    first = await authority.attest("agent")
    key = new_key()
    async with authority.client(first) as http:
        asked = {"csr": csr(key, "spiffe://bank.example/gateway")}
        second = svid_of(await http.post("/v1/renew", json=asked), key)
    assert second.spiffe_id == first.spiffe_id
    assert successor.read(second.certificate).thumbprints == (first.x5t,)
    third = await authority.renew(second)
    assert successor.read(third.certificate).thumbprints == (second.x5t, first.x5t)


async def test_a_jwt_svid_verifies_against_the_bundle(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    async with authority.client(svid) as http:
        answer = (await http.post("/v1/jwt-svid", json={"audience": ["ledger"]})).json()
        bundle = (await http.get("/bundle")).json()
    (key,) = [one for one in bundle["keys"] if one["use"] == "jwt-svid"]
    claims = jwt.decode(answer["token"], jwt.PyJWK(key).key, algorithms=["ES256"], audience="ledger")
    assert claims["sub"] == svid.spiffe_id
    assert claims["exp"] == answer["expires_at"]
    assert jwt.get_unverified_header(answer["token"]) == {"alg": "ES256", "kid": key["kid"], "typ": "JWT"}
    assert bundle["spiffe_sequence"] == svid.trust["sequence"]


async def test_metadata_and_keys_are_for_everybody(authority: RunningAuthority) -> None:
    async with authority.client() as http:
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
        assert metadata == (await http.get("/.well-known/openid-configuration")).json()
        assert metadata["issuer"] == authority.url
        assert (await http.get(metadata["jwks_uri"])).json()["keys"]
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz", params={"verbose": ""})).json() == {
            "store": True,
            "keys": True,
            "certificate": True,
            "policy": True,
        }
        page = (await http.get("/metrics")).text
        assert 'extauthz_authority_keys{phase="active",set="x509"} 1.0' in page
        assert 'extauthz_authority_not_after_seconds{certificate="listener"}' in page
        due = dict(re.findall(r'extauthz_authority_rotation_due_seconds\{set="(\w+)"\} (\S+)', page))
        assert due.keys() == {"x509", "jwt"}


async def own_token(authority: RunningAuthority, svid: Svid, **form: str) -> httpx.Response:
    async with authority.client(svid) as http:
        return await http.post("/token", data={"grant_type": CLIENT_CREDENTIALS, **form})


async def exchanged(authority: RunningAuthority, svid: Svid, token: str, audience: str) -> httpx.Response:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "audience": audience,
    }
    async with authority.client(svid) as http:
        return await http.post("/token", data=form)


async def test_a_token_is_issued_introspected_and_revoked(authority: RunningAuthority) -> None:
    worker, model = await authority.attest("worker"), await authority.attest("model")
    answer = await own_token(authority, worker, audience="model", scope="score", purpose="payment")
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    async with authority.client(model) as http:
        active = (await http.post("/introspect", data={"token": token})).json()
        assert active["active"] is True
        assert active["sub"] == worker.spiffe_id
        assert active["tenant"] == "acme"
        assert active["cnf"] == {"x5t#S256": worker.x5t}
        done = await authority.operator("POST", "/revoke", {"kind": "token", "value": token, "reason": "test"})
        assert [one["kind"] for one in done.json()["revoked"]] == ["token", "jti"]
        assert (await http.post("/introspect", data={"token": token})).json() == {"active": False}
        feed = (await http.get("/v1/revocations")).json()
        assert feed["complete"] is True
        assert {one["kind"] for one in feed["entries"]} == {"token", "jti"}


async def test_an_exchange_is_the_policys_decision_and_goes_along_the_registrations(tmp_path: Path) -> None:
    policy = """package extauthz.exchange

default decision := false

decision if {
	input.action.name == "token.issue"
}

decision if {
	input.resource.id == "model"
	input.context.workload.id == "spiffe://bank.example/orchestrator"
}
"""
    entries = [
        entry("start", exchange_to=["orchestrator"]),
        entry("orchestrator", audiences=["orchestrator"], exchange_to=["model", "vault"]),
    ]
    async with running(tmp_path, entries=entries, policy=policy) as authority:
        start, middle = await authority.attest("start"), await authority.attest("orchestrator")
        token = (await own_token(authority, start, audience="orchestrator")).json()["access_token"]
        good = await exchanged(authority, middle, token, "model")
        assert good.status_code == 200, good.text
        assert (await exchanged(authority, middle, token, "vault")).json()["error"] == "invalid_target"  # the policy
        assert (await exchanged(authority, middle, token, "ledger")).json()["error"] == "invalid_target"
        assert (await exchanged(authority, start, token, "orchestrator")).status_code == 400  # not its audience
        done = await authority.operator("POST", "/revoke", {"kind": "token", "value": token, "reason": ""})
        assert done.status_code == 200
        assert (await exchanged(authority, middle, token, "model")).status_code == 400
        events = [line["event"] for line in authority.audit()]
        assert events.count("token.issued") == 1
        assert events.count("token.exchanged") == 1
        assert "eyJ" not in audit_text(tmp_path)


async def polled(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_new_ca_waits_for_those_who_are_connected(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    before = svid.trust["sequence"]
    async with authority.client(svid) as http:
        await polled(http, "/v1/trust", acknowledged=before)
        held = asyncio.gather(polled(http, "/v1/trust", after=before, wait=20, acknowledged=before))
        await asyncio.sleep(0.1)
        begun = (await authority.operator("POST", "/rotate", {"what": "ca", "compromised": False})).json()
        (trust,) = await held
        assert trust["sequence"] > before
        assert authorities(trust).count("BEGIN") == 2
        status = (await authority.operator("GET", "/status")).json()
        assert {slot["phase"] for slot in status["keys"]["ca"]} == {"active", "published"}
        assert status["agents"]["behind"] == [f"{svid.spiffe_id}#{svid.x5t}"]
        await polled(http, "/v1/trust", acknowledged=trust["sequence"])
    await until_active(authority, begun["next"])
    renewed = await authority.renew(svid)
    issuer = renewed.certificate.issuer.rfc4514_string()
    assert begun["next"] in issuer
    assert (await authority.renew(renewed)).spiffe_id == svid.spiffe_id


async def until_active(authority: RunningAuthority, kid: str) -> None:
    """The CA looks every five seconds, and when it is told to."""
    assert authority.service is not None
    for _ in range(200):
        status = (await authority.operator("GET", "/status")).json()
        if any(slot["kid"] == kid and slot["phase"] == "active" for slot in status["keys"]["ca"]):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(status)


async def test_a_compromised_signing_key_is_gone_at_once(authority: RunningAuthority) -> None:
    worker, model = await authority.attest("worker"), await authority.attest("model")
    token = (await own_token(authority, worker, audience="model")).json()["access_token"]
    async with authority.client(model) as http:
        old = (await http.get("/jwks.json")).json()["keys"]
        rotated = (await authority.operator("POST", "/rotate", {"what": "signing", "compromised": True})).json()
        assert rotated["revoked"] == [key["kid"] for key in old]
        assert [key["kid"] for key in (await http.get("/jwks.json")).json()["keys"]] == [rotated["next"]]
        assert (await http.post("/introspect", data={"token": token})).json() == {"active": False}
        feed = await polled(http, "/v1/revocations")
        assert [(one["kind"], one["value"]) for one in feed["entries"]] == [("key", old[0]["kid"])]
    fresh = (await own_token(authority, worker, audience="model")).json()["access_token"]
    async with authority.client(model) as http:
        assert (await http.post("/introspect", data={"token": fresh})).json()["active"] is True


async def test_revocations_end_a_poll(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    async with authority.client(svid) as http:
        held = asyncio.gather(polled(http, "/v1/revocations", after=0, wait=20))
        await asyncio.sleep(0.1)
        order = {"kind": "subject", "value": "mallory", "reason": "left"}
        assert (await authority.operator("POST", "/revoke", order)).status_code == 200
        (page,) = await held
        (one,) = page["entries"]
        assert (one["kind"], one["value"], one["reason"]) == ("subject", "mallory", "left")
        assert one["before"] == pytest.approx(one["at"], abs=1)
        nothing = await polled(http, "/v1/revocations", after=page["sequence"], wait=0)
        assert nothing == {"sequence": page["sequence"], "complete": True, "entries": []}


async def test_the_operators_socket_is_the_operators(authority: RunningAuthority) -> None:
    assert authority.admin.stat().st_mode & 0o777 == 0o600
    entries = (await authority.operator("GET", "/entries")).json()["entries"]
    assert [one["name"] for one in entries][:2] == ["agent", "gateway"]
    for body, code in (
        ({"entry": "nobody", "ttl": 60}, "authority.unknown_entry"),
        ({"entry": "agent", "ttl": 0}, "authority.malformed"),
        ({"entry": "agent"}, "authority.malformed"),
    ):
        assert (await authority.operator("POST", "/join-token", body)).json()["error"] == code
    for kind, value, reason in (
        ("everything", "x", ""),
        ("subject", "", ""),
        ("subject", "a" * 3000, ""),
        ("subject", "x", "two\nlines"),
        ("workload", "x", "r" * 300),
    ):
        order = {"kind": kind, "value": value, "reason": reason}
        assert (await authority.operator("POST", "/revoke", order)).json()["error"] == "authority.malformed"
    wrong = {"what": "everything", "compromised": False}
    assert (await authority.operator("POST", "/rotate", wrong)).json()["error"] == "authority.malformed"
    async with authority.client() as http:
        assert (await http.get("/status")).status_code == 404  # not over TLS


async def test_every_order_and_every_credential_has_a_record(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    await authority.renew(svid)
    lines = authority.audit()
    assert [line["event"] for line in lines if line["event"].startswith(("identity.", "join"))] == [
        "identity.issued",
        "join_token.issued",
        "identity.issued",
        "identity.renewed",
    ]
    attested = [line for line in lines if line["event"] == "identity.issued"][1]
    assert attested["certificate"] == svid.x5t
    assert attested["selectors"] == ["join:agent"]
