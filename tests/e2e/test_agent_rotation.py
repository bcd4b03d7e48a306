"""Everything rotates under load: leaves, certificate authorities and signing keys; no request and no token fails.

A real authority, two real agents, two real Envoys with SDS. Every request is a new mTLS handshake; beside it a JWT-SVID is
fetched and validated all the time.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest

from extauthz.agent.agent import Agent
from extauthz.agent.settings import AgentSettings
from extauthz.clock import SystemClock
from extauthz.workload_api import jwt_svid
from extauthz.workload_api.client import WorkloadApiClient
from tests.support import authority as real
from tests.support import sds_envoy
from tests.support.identities import until

pytestmark = [
    pytest.mark.envoy,
    # httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FRONT, BACK = "gateway", "orchestrator"
LEAVES, AUTHORITIES, SIGNING_KEYS = 5, 2, 2
QUICK = {
    "ca": {"publish_for": "0s", "acknowledge_within": "1h"},
    "signing": {"publish_for": "1s"},
    "entries": [real.entry(name, svid_ttl="12s", jwt_ttl="4s") for name in (FRONT, BACK)],
}


async def agent_of(stack, authority, folder, name):
    folder = folder / name
    folder.mkdir()
    (folder / "bootstrap.pem").write_text(await authority.trust_pem())
    (folder / "token").write_text(await authority.join_token(name))
    settings = AgentSettings(
        authority=authority.url,
        trust_domain="bank.example",
        trust_bundle=folder / "bootstrap.pem",
        attestation={"kind": "join_token", "token_file": folder / "token"},
        socket=f"unix://{folder}/agent.sock",
    )
    agent = Agent(settings, SystemClock())
    await agent.start()
    stack.push_async_callback(agent.stop)
    await until(lambda: agent.held.identity)
    return agent, folder / "agent.sock"


class Load:
    """Requests and tokens, until it is stopped; what went wrong."""

    def __init__(self, envoy, agent, client):
        self.envoy, self.agent, self.client = envoy, agent, client
        self.requests = self.tokens = 0
        self.failures = []
        self.serials, self.keys = set(), set()
        self.over = False

    async def requesting(self):
        while not self.over:
            answer = await self.envoy.get()
            self.requests += 1
            if answer.status_code == 200:
                self.serials.add(answer.headers["x-peer-serial"])
            else:
                self.failures.append((answer.status_code, answer.text))

    async def telling(self):
        while not self.over:
            found = await self.client.jwt_svid(["db"])
            trust, now = self.agent.held.identity.trust, SystemClock().now()
            verdict = jwt_svid.validate(found.token, "db", trust, now)
            self.tokens += 1
            if isinstance(verdict, str):
                self.failures.append(verdict)
            self.keys.add(found.token.split(".")[0])
            await asyncio.sleep(0.02)


async def test_nothing_fails_while_everything_rotates(tmp_path, capsys):
    async with AsyncExitStack() as stack:
        authority = await stack.enter_async_context(real.running(tmp_path, **QUICK))
        front_agent, front_socket = await agent_of(stack, authority, tmp_path, FRONT)
        back_agent, back_socket = await agent_of(stack, authority, tmp_path, BACK)
        front, back = sds_envoy.free_port(), sds_envoy.free_port()
        ids = [f"spiffe://bank.example/{name}" for name in (FRONT, BACK)]
        behind = sds_envoy.server(back, back_socket, sds_envoy.tls("default", "ALL", ids[0]))
        before = sds_envoy.client(front, back, front_socket, sds_envoy.tls("default", "ROOTCA", ids[1]))
        await stack.enter_async_context(sds_envoy.running("back", tmp_path, back, behind))
        envoy = await stack.enter_async_context(sds_envoy.running("front", tmp_path, front, before))
        await until(
            lambda: all(len(one.sds.sessions) == 2 and one.sds.acknowledged() for one in (front_agent, back_agent))
        )
        await sds_envoy.serves(envoy)
        client = WorkloadApiClient(front_agent._settings.socket)
        stack.push_async_callback(client.close)
        load = Load(envoy, front_agent, client)

        issuers = {front_agent.held.identity.svid.chain[0].issuer}
        async with asyncio.TaskGroup() as group:
            group.create_task(load.requesting())
            group.create_task(load.telling())
            for round_number in range(max(AUTHORITIES, SIGNING_KEYS)):
                for what in ("ca", "signing"):
                    answer = await authority.operator("POST", "/rotate", {"what": what, "compromised": False})
                    assert answer.status_code == 200, answer.text

                def moved(wanted=round_number + 2):
                    for agent in (front_agent, back_agent):
                        issuers.add(agent.held.identity.svid.chain[0].issuer)
                    return len(issuers) >= wanted and len(load.keys) >= wanted

                await until(moved, 40)
            await until(lambda: len(load.serials) > LEAVES, 40)
            load.over = True
        with capsys.disabled():
            print(  # noqa: T201 - the evidence
                f"\n{load.requests} requests, {load.tokens} tokens, {len(load.serials) - 1} leaf rotations, "
                f"{len(issuers) - 1} CA rotations, {len(load.keys) - 1} signing-key rotations, {len(load.failures)} failures"
            )
        assert load.failures == []
        assert load.requests > 100
        assert (front_agent.sds.answers[1], back_agent.sds.answers[1]) == (0, 0), "no push was refused"
