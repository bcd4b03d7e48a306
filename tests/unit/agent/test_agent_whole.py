"""The whole agent against an authority that does what the test says."""

import asyncio
import os
import stat
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc_health.v1 import health_pb2

from extauthz.agent.agent import Agent
from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.transport import health
from extauthz.workload_api.client import WorkloadApiClient
from tests.support import scripted_authority
from tests.support.identities import until

# httpcore leaves a connection to the garbage collector when it is cancelled within the TLS handshake.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
async def authority():
    async with scripted_authority.running() as found:
        yield found


@pytest.fixture
async def agent(authority, tmp_path):
    found = Agent(scripted_authority.settings(authority, tmp_path), SystemClock())
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def client(agent):
    found = WorkloadApiClient(agent._settings.socket)
    yield found
    await found.close()


async def test_it_attests_and_serves(agent, client, authority):
    context = await anext(client.x509_contexts())
    assert context.svid.spiffe_id == "spiffe://bank.example/app"
    assert context.svid.chain[0] == authority.issued[0]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert context.svid.key.public_key().public_bytes(*form) == context.svid.chain[0].public_key().public_bytes(*form)
    assert context.trust["bank.example"] == (authority.domain.ca.certificate,)
    assert authority.calls.count("/v1/attest") == 1


async def test_it_gives_jwt_svids_and_keeps_them(agent, client, authority):
    await until(lambda: agent.held.identity)
    tokens = await asyncio.gather(*(client.jwt_svid(["db"]) for _ in range(8)))
    assert len({one.token for one in tokens}) == 1
    assert authority.calls.count("/v1/jwt-svid") == 1
    assert (tokens[0].spiffe_id, tokens[0].audience) == ("spiffe://bank.example/app", ("db",))
    await client.jwt_svid(["cache", "db"])
    await client.jwt_svid(["db", "cache"])
    assert authority.calls.count("/v1/jwt-svid") == 2


async def test_trust_is_followed_and_acknowledged(agent, client, authority):
    seen = []

    async def watch():
        async for context in client.x509_contexts():
            seen.append(context)  # noqa: PERF401 - looked at while it grows

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        await until(lambda: seen)
        authority.domain.rotate()
        authority.next_trust()
        await until(lambda: len(seen) == 2)
        assert len(seen[1].trust["bank.example"]) == 2
        assert seen[1].svid.serial == seen[0].svid.serial
        await until(lambda: authority.acknowledged[-1] == 2)
        watcher.cancel()


async def test_health(agent):
    await until(lambda: agent.held.identity)
    async with grpc.aio.insecure_channel(agent._settings.socket) as channel:
        check = channel.unary_unary(health.CHECK, health_pb2.HealthCheckRequest.SerializeToString)
        answer = health_pb2.HealthCheckResponse.FromString(await check(health_pb2.HealthCheckRequest()))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_agent(authority, tmp_path):
    path = tmp_path / "agent.sock"
    agent = Agent(scripted_authority.settings(authority, tmp_path, socket_mode="0660"), SystemClock())
    await agent.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert os.umask(0o022) == 0o022
    await agent.stop()
    assert not path.exists()


async def test_a_second_agent_does_not_take_the_socket(agent, authority, tmp_path):
    other = Agent(agent._settings, SystemClock())
    with pytest.raises(ExtauthzError, match="something listens there already"):
        await other.start()
    await other.stop()
    assert Path(tmp_path / "agent.sock").exists()


async def test_a_file_that_is_no_socket_is_not_removed(authority, tmp_path):
    (tmp_path / "agent.sock").write_text("precious")
    agent = Agent(scripted_authority.settings(authority, tmp_path), SystemClock())
    with pytest.raises(ExtauthzError, match="no socket"):
        await agent.start()
    await agent.stop()
    assert (tmp_path / "agent.sock").read_text() == "precious"


async def test_http_for_orchestrators_and_prometheus(authority, tmp_path):
    where = tmp_path / "http.sock"
    given = scripted_authority.settings(authority, tmp_path, http=f"unix://{where}")
    agent = Agent(given, SystemClock())
    authority.spoil("/v1/attest", 503)
    await agent.start()
    try:
        transport = httpx.AsyncHTTPTransport(uds=str(where))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as http:
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 503
            await until(lambda: agent.held.failures)
            authority.faults.clear()
            await until(lambda: agent.held.identity)
            assert (await http.get("/readyz")).status_code == 200
            page = (await http.get("/metrics")).text
    finally:
        await agent.stop()
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(values["extauthz_agent_certificates_total"]) == 1
    assert float(values["extauthz_agent_failures_total"]) >= 1
    assert float(values["extauthz_agent_trust_sequence"]) == float(values["extauthz_agent_trust_acknowledged"]) == 1
    documented = (Path(__file__).parents[3] / "docs" / "agent.md").read_text()
    assert not [name for name in values if f"`{name.partition('{')[0]}`" not in documented]
