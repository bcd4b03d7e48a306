"""The agent against the real authority: attestation, renewal with successors, JWT-SVIDs, CA rotation acknowledged."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest
from cryptography.x509 import UnrecognizedExtension

from extauthz.agent.agent import Agent
from extauthz.agent.settings import AgentSettings
from extauthz.clock import SystemClock
from extauthz.keys import successor
from extauthz.workload_api import jwt_svid
from extauthz.workload_api.client import WorkloadApiClient
from tests.support import authority as real
from tests.support.identities import until

# httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@asynccontextmanager
async def running(authority, folder, **more):
    (folder / "bootstrap.pem").write_text(await authority.trust_pem())
    (folder / "token").write_text(await authority.join_token("agent"))
    settings = AgentSettings(
        **{
            "authority": authority.url,
            "trust_domain": "bank.example",
            "trust_bundle": folder / "bootstrap.pem",
            "attestation": {"kind": "join_token", "token_file": folder / "token"},
            "socket": f"unix://{folder}/agent.sock",
            **more,
        }
    )
    agent = Agent(settings, SystemClock())
    await agent.start()
    client = WorkloadApiClient(settings.socket)
    try:
        await until(lambda: agent.held.identity or agent.held.failures > 3)
        assert agent.held.identity
        yield agent, client
    finally:
        await client.close()
        await agent.stop()


async def test_the_whole_life(tmp_path):
    async with real.running(tmp_path) as authority, running(authority, tmp_path) as (agent, client):
        context = await anext(client.x509_contexts())
        assert context.svid.spiffe_id == "spiffe://bank.example/agent"
        token = await client.jwt_svid(["db"])
        now = SystemClock().now()
        found = jwt_svid.validate(token.token, "db", agent.held.identity.trust, now)
        assert not isinstance(found, str), found
        await agent._renewal._fresh()
        renewed = await anext(client.x509_contexts())
        assert renewed.svid.serial != context.svid.serial
        assert any(
            isinstance(one.value, UnrecognizedExtension) and one.oid == successor.OID
            for one in renewed.svid.chain[0].extensions
        )


async def test_a_new_certificate_authority_signs_once_the_agent_has_acknowledged_it(tmp_path):
    settings = {"ca": {"publish_for": "0s", "acknowledge_within": "1h"}}
    async with real.running(tmp_path, **settings) as authority, running(authority, tmp_path) as (agent, _client):
        before = agent.held.identity
        answer = await authority.operator("POST", "/rotate", {"what": "ca", "compromised": False})
        assert answer.status_code == 200, answer.text
        await until(lambda: agent.held.identity.sequence > before.sequence)
        assert len(agent.held.identity.trust["bank.example"].authorities) == 2
        assert agent.held.identity.svid.serial == before.svid.serial

        async def signed_anew():
            assert await agent._renewal._fresh()
            return agent.held.identity.svid.chain[0].issuer != before.svid.chain[0].issuer

        for _ in range(100):
            if await signed_anew():
                break
            await asyncio.sleep(0.2)
        else:
            pytest.fail("the new authority does not sign, although everybody has acknowledged it")


async def test_a_compromised_certificate_authority_is_left_by_a_new_attestation(tmp_path):
    async with real.running(tmp_path) as authority, running(authority, tmp_path) as (agent, _client):
        before = agent.held.identity
        (tmp_path / "token").write_text(await authority.join_token("agent"))
        answer = await authority.operator("POST", "/rotate", {"what": "ca", "compromised": True})
        assert answer.status_code == 200, answer.text
        # The operator hands out the new anchors as well: the old ones vouch for nobody any more.
        (tmp_path / "bootstrap.pem").write_text(await authority.trust_pem())
        await until(lambda: agent.held.identity and agent.held.identity.svid.serial != before.svid.serial, 30)
        old = before.trust["bank.example"].authorities
        assert not set(agent.held.identity.trust["bank.example"].authorities) & set(old)


async def test_the_agent_outlives_the_authority_and_finds_it_again(tmp_path):
    (tmp_path / "passphrase").write_text("a passphrase of sixteen bytes or more\n")
    settings = {
        "store": {"kind": "sqlite", "path": str(tmp_path / "store.db")},
        "keys": {"kind": "encrypted", "passphrase_file": str(tmp_path / "passphrase")},
    }
    async with real.process(tmp_path, **settings) as first, running(first, tmp_path) as (agent, client):
        before = agent.held.identity
        os.kill(first.pid, signal.SIGKILL)
        assert not await agent._renewal._fresh()
        assert (await anext(client.x509_contexts())).svid.serial == before.svid.serial
        async with real.started(first.config):
            for _ in range(50):
                if await agent._renewal._fresh():
                    break
                await asyncio.sleep(0.2)
            assert agent.held.identity.svid.serial != before.svid.serial
