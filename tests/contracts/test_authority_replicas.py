"""Two authorities over one store: what one does, the other knows. Redis is real; restarts are over SQLite."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.authority import RunningAuthority, authorities, csr, new_key, process, running, started, svid_of
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"
CA = {"publish_for": 0, "acknowledge_within": "30s"}


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    server = RedisServer()
    try:
        await server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def pair(tmp_path: Path, redis: RedisServer) -> AsyncIterator[tuple[RunningAuthority, RunningAuthority]]:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    shared = {
        "store": {"kind": "redis", "url": redis.url},
        "keys": {"kind": "encrypted", "passphrase_file": str(secret)},
        "sts": {"issuer": "https://authority.bank.example"},
        "ca": CA,
    }
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(tmp_path / "one", **shared))
        two = await stack.enter_async_context(running(tmp_path / "two", **shared))
        yield one, two


async def test_both_are_one_authority(pair: tuple[RunningAuthority, RunningAuthority]) -> None:
    one, two = pair
    assert await one.trust_pem() == await two.trust_pem()
    svid = await one.attest("agent")  # attested here,
    renewed = await two.renew(svid)  # renewed there
    assert renewed.spiffe_id == svid.spiffe_id
    token = await one.join_token("agent")  # given out here, used up there, worth nothing here
    asked = {"attestor": "join_token", "evidence": token, "csr": csr(new_key())}
    async with two.client() as http:
        assert (await http.post("/v1/attest", json=asked)).status_code == 200
    async with one.client() as http:
        assert (await http.post("/v1/attest", json=asked)).json()["error"] == "attestation.join_token"
        assert (await http.get("/jwks.json")).json() == await jwks(two)


async def jwks(authority: RunningAuthority) -> object:
    async with authority.client() as http:
        return (await http.get("/jwks.json")).json()


async def test_a_revocation_at_one_is_seen_at_the_other(pair: tuple[RunningAuthority, RunningAuthority]) -> None:
    one, two = pair
    gateway, model = await one.attest("gateway"), await two.attest("orchestrator")
    async with one.client(gateway) as http:
        form = {"grant_type": "client_credentials", "audience": "orchestrator"}
        token = (await http.post("/token", data=form)).json()["access_token"]
    async with two.client(model) as http:
        assert (await http.post("/introspect", data={"token": token})).json()["active"] is True
        held = asyncio.gather(http.get("/v1/revocations", params={"wait": 20}))
        await asyncio.sleep(0.1)
        order = {"kind": "workload", "value": gateway.spiffe_id, "reason": "test"}
        assert (await one.operator("POST", "/revoke", order)).status_code == 200
        (page,) = await held
        assert [entry["value"] for entry in page.json()["entries"]] == [gateway.spiffe_id]
    async with two.client(gateway) as http:
        assert (await http.get("/v1/trust")).json()["error"] == "workload.revoked"


async def test_a_rotation_at_one_is_everywhere_and_happens_once(
    pair: tuple[RunningAuthority, RunningAuthority],
) -> None:
    one, two = pair
    svid = await one.attest("agent")
    sequence = svid.trust["sequence"]
    async with two.client(svid) as http:
        held = asyncio.gather(http.get("/v1/trust", params={"after": sequence, "wait": 20}))
        await asyncio.sleep(0.1)
        begun = (await one.operator("POST", "/rotate", {"what": "ca", "compromised": False})).json()
        (news,) = await held
        assert authorities(news.json()).count("BEGIN") == 2
    await until_active(two, begun["next"])
    renewed = await two.renew(svid)
    assert begun["next"] in renewed.certificate.issuer.rfc4514_string()
    assert (await one.renew(renewed)).spiffe_id == svid.spiffe_id
    phases = [(await place.operator("GET", "/status")).json()["keys"]["ca"] for place in pair]
    assert [[slot["kid"] for slot in slots] for slots in phases] == [[slot["kid"] for slot in phases[0]]] * 2
    assert len(phases[0]) == 2
    lines = [line for place in pair for line in place.audit() if line["event"] == "rotation.changed"]
    changes = [(line["kid"], line["phase"]) for line in lines]
    assert len(changes) == len(set(changes))  # each change has one record, by whoever made it


async def test_a_compromised_ca_is_gone_everywhere(pair: tuple[RunningAuthority, RunningAuthority]) -> None:
    one, two = pair
    svid = await one.attest("agent")
    async with two.client(svid) as http:
        held = asyncio.gather(http.get("/v1/trust", params={"after": svid.trust["sequence"], "wait": 20}))
        await asyncio.sleep(0.1)
        assert (await one.operator("POST", "/rotate", {"what": "ca", "compromised": True})).status_code == 200
        (news,) = await held
        assert authorities(news.json()) != authorities(svid.trust)
        assert (await http.get("/v1/trust")).json()["error"] == "transport.certificate_untrusted"
    assert await one.trust_pem() == await two.trust_pem()
    assert (await two.attest("agent")).spiffe_id == svid.spiffe_id


async def until_active(authority: RunningAuthority, kid: str) -> None:
    for _ in range(200):
        slots = (await authority.operator("GET", "/status")).json()["keys"]["ca"]
        if any(slot["kid"] == kid and slot["phase"] == "active" for slot in slots):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(slots)


@pytest.mark.fault
async def test_without_the_store_nothing_is_issued_and_it_recovers(
    pair: tuple[RunningAuthority, RunningAuthority], redis: RedisServer
) -> None:
    one, _ = pair
    svid = await one.attest("agent")
    async with one.client(svid) as http:
        redis.pause()
        try:
            key = new_key()
            answer = await http.post("/v1/renew", json={"csr": csr(key)})
            assert (answer.status_code, answer.json()["error"]) == (503, "authority.unavailable")
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 503
        finally:
            redis.resume()
        svid_of(await http.post("/v1/renew", json={"csr": csr(key)}), key)
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.fault
async def test_a_killed_authority_comes_back_as_it_was(tmp_path: Path) -> None:
    """Its admin socket is still there, and so is whatever it had promised."""
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    settings = {
        "store": {"kind": "sqlite", "path": "store.db"},
        "keys": {"kind": "encrypted", "passphrase_file": "passphrase"},
    }
    async with process(tmp_path, **settings) as authority:
        svid = await authority.attest("agent")
        assert authority.pid is not None
        os.kill(authority.pid, signal.SIGKILL)
    assert authority.admin.exists()
    async with started(tmp_path / "extauthz.yaml") as authority:
        assert (await authority.renew(svid)).spiffe_id == svid.spiffe_id
        async with authority.client() as http:
            assert (await http.get("/readyz")).status_code == 200
    assert not authority.admin.exists()


async def test_a_restart_changes_nobodys_identity(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    settings = {
        "store": {"kind": "sqlite", "path": "store.db"},
        "keys": {"kind": "encrypted", "passphrase_file": "passphrase"},
    }
    async with process(tmp_path, **settings) as authority:
        svid = await authority.attest("agent")
        trusted = await authority.trust_pem()
        order = {"kind": "subject", "value": "mallory", "reason": "left"}
        assert (await authority.operator("POST", "/revoke", order)).status_code == 200
    async with started(tmp_path / "extauthz.yaml") as authority:
        assert await authority.trust_pem() == trusted
        renewed = await authority.renew(svid)
        async with authority.client(renewed, trusted=trusted) as http:
            (entry,) = (await http.get("/v1/revocations")).json()["entries"]
            assert entry["value"] == "mallory"
    for file in tmp_path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            # What signs the audit trail lies beside it, for its owner alone: it identifies nobody.
            assert b"PRIVATE KEY" not in content or (file.name, file.stat().st_mode & 0o777) == ("audit.key", 0o600), (
                file
            )
            assert b"xjt_" not in content, file
