"""A review's finding: an agent went on believing the bootstrap file after its certificate authority was distrusted.

The key of a certificate authority that stands in that file is a thief's. The agent has learned of it over its poll.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.agent.agent import Agent
from extauthz.agent.authority import Authority as Client
from extauthz.agent.authority import AuthorityFault, Refusal
from extauthz.agent.renew import request
from extauthz.agent.settings import AgentSettings
from extauthz.clock import SystemClock
from tests.support import authority as real
from tests.support import scripted_authority
from tests.support.identities import Domain, until

# httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
pytestmark = [pytest.mark.attack, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


async def attest(client: Client, before=None):
    key = ec.generate_private_key(ec.SECP256R1())
    return await client.attest("xjt_good", request(key), key, before)


async def test_a_thief_of_the_first_authority_gets_neither_evidence_nor_belief(tmp_path):
    stolen = Domain()
    async with scripted_authority.running(stolen) as thief:
        client = Client(scripted_authority.settings(thief, tmp_path), SystemClock())
        first = await attest(client)
        assert not isinstance(first, Refusal)
        thief.calls.clear()
        honest = Domain().bundle()  # what the poll brought: the stolen key vouches for nobody any more
        now = replace(first, trust={"bank.example": honest}, sequence=2)
        for ask in (
            lambda: attest(client, now),
            lambda: client.trust(now, 2),
            lambda: client.jwt_svid(now, ("db",)),
        ):
            with pytest.raises(AuthorityFault, match="cannot be asked"):
                await ask()
        assert thief.calls == []


async def test_a_newer_file_is_the_operators_word(tmp_path):
    async with scripted_authority.running() as authority:
        settings = scripted_authority.settings(authority, tmp_path)
        client = Client(settings, SystemClock())
        first = await attest(client)
        lost = replace(first, trust={"bank.example": Domain().bundle()}, sequence=2)
        authority.join_tokens["xjt_good"] = "/app"
        with pytest.raises(AuthorityFault):
            await attest(client, lost)
        settings.trust_bundle.write_text("\n" + settings.trust_bundle.read_text())
        assert not isinstance(await attest(client, lost), Refusal)


async def test_connected_agents_attest_again_after_an_emergency_without_a_new_file(tmp_path):
    """docs/rotation.md: only agents that were not connected need a new bootstrap bundle."""
    async with real.running(tmp_path) as authority:
        (tmp_path / "bootstrap.pem").write_text(await authority.trust_pem())
        (tmp_path / "token").write_text(await authority.join_token("agent"))
        settings = AgentSettings(
            authority=authority.url,
            trust_domain="bank.example",
            trust_bundle=tmp_path / "bootstrap.pem",
            attestation={"kind": "join_token", "token_file": tmp_path / "token"},
            socket=f"unix://{tmp_path}/agent.sock",
        )
        agent = Agent(settings, SystemClock())
        await agent.start()
        try:
            await until(lambda: agent.held.identity)
            before = agent.held.identity
            (tmp_path / "token").write_text(await authority.join_token("agent"))
            answer = await authority.operator("POST", "/rotate", {"what": "ca", "compromised": True})
            assert answer.status_code == 200, answer.text
            await until(lambda: agent.held.identity and agent.held.identity.svid.serial != before.svid.serial, 30)
        finally:
            await agent.stop()
