"""Our answers as Envoy understands them: the shipped `envoy/minimal.yaml` between a client and an upstream that echoes.

What no reading of the API tells: whether Envoy removes before or after it sets, what it does with two spoofed headers
of one name, and what a gRPC client sees of a denial.
"""

import asyncio
import json
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import yaml

from extauthz.check import messages, respond, wire
from extauthz.model import Deny, deny
from extauthz.transport.grpcio import GrpcioServer
from extauthz.transport.health import Health
from extauthz.transport.reflection import Reflection
from extauthz.transport.spec import WorkerSpec
from tests.support import parts

pytestmark = pytest.mark.envoy
MINIMAL = Path(__file__).parents[2] / "envoy" / "minimal.yaml"
ID = "0123456789abcdef"


class WireService:
    """Allows `/allow`, denies `/deny/CODE` with that code; the real wire on both sides."""

    def __init__(self):
        self.seen = []

    async def check(self, message, budget):
        request = wire.parse(message)
        self.seen.append((request, budget))
        if isinstance(request, Deny):
            return respond.deny(request, ID, None, {"decision_id": ID})
        if request.path.startswith("/deny/"):
            return respond.deny(deny(request.path.removeprefix("/deny/")), ID, request, {"decision_id": ID})
        headers = [("x-extauthz-subject", "alice"), ("x-extauthz-decision-id", ID)]
        return respond.allow(request, headers, {"decision_id": ID, "cached": True}, remove=("authorization",))


async def echo(reader, writer):
    """Answers every HTTP/1.1 request with the header lines that came."""
    while head := await _head(reader):
        lines = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if ": " in line]
        body = json.dumps(lines).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
    writer.close()


async def _head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def envoy(check, upstream):
    port = free_port()
    text = MINIMAL.read_text().replace("port_value: 8080", f"port_value: {port}")
    text = text.replace("port_value: 9191", f"port_value: {check}").replace(
        "port_value: 8000", f"port_value: {upstream}"
    )
    config = yaml.safe_load(text)
    assert json.dumps(config).count(str(port)) == 1
    process = await asyncio.create_subprocess_exec(
        str(parts.require_envoy()),
        *("--config-yaml", json.dumps(config), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"),
    )
    try:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        assert process.returncode is None
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def lab():
    service = WireService()
    check = free_port()
    with tempfile.TemporaryDirectory(prefix="xa-") as folder:
        spec = WorkerSpec(0, "", folder, f"127.0.0.1:{check}", 4 * 1024 * 1024, 64)
        server = GrpcioServer(service, Health(()), Reflection(messages.FILES, (messages.SERVICE,)), spec)
        await server.start()
        upstream = await asyncio.start_server(echo, "127.0.0.1", 0)
        try:
            async with envoy(check, upstream.sockets[0].getsockname()[1]) as port:
                yield service, port
        finally:
            upstream.close()
            await server.stop()


async def get(port, path, headers=()):
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", headers=list(headers))


async def test_the_upstream_sees_our_identity_headers_and_nobody_elses(lab):
    _, port = lab
    spoofed = [
        ("x-extauthz-subject", "eve"),
        ("X-Extauthz-Subject", "mallory"),
        ("x-extauthz-tenant", "evil"),
        ("x-extauthz-made-up", "1"),
        ("x-extauthz-decision-id", "forged"),
        ("authorization", "Bearer secret"),
        ("x-other", "stays"),
    ]
    answer = await get(port, "/allow", spoofed)
    assert answer.status_code == 200
    ours = [(name.lower(), value) for name, value in answer.json() if name.lower().startswith("x-extauthz")]
    assert sorted(ours) == [("x-extauthz-decision-id", ID), ("x-extauthz-subject", "alice")]
    names = {name.lower() for name, _ in answer.json()}
    assert "authorization" not in names
    assert "x-other" in names


async def test_envoys_request_is_read_whole(lab):
    service, port = lab
    await get(port, "/allow?a=1", [("accept", "x"), ("x-twice", "1"), ("x-twice", "2")])
    request, budget = service.seen[-1]
    assert (request.method, request.path, request.query, request.scheme) == ("GET", "/allow", "a=1", "http")
    assert request.host in {f"127.0.0.1:{port}", "127.0.0.1"}
    assert request.source_address == "127.0.0.1"
    assert request.headers["x-twice"] == "1,2"
    assert "x-twice" in request.duplicated_headers
    assert 0 < budget <= 1


@pytest.mark.parametrize(
    ("code", "status"),
    [("request.malformed", 400), ("token.expired", 401), ("role.denied", 403), ("engine.unavailable", 503)],
)
async def test_a_client_sees_the_denial(lab, code, status):
    _, port = lab
    answer = await get(port, f"/deny/{code}")
    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert answer.json()["decision_id"] == answer.headers["x-extauthz-decision-id"] == ID
    assert answer.headers["content-type"] == "application/json"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("request.malformed", grpc.StatusCode.INVALID_ARGUMENT),
        ("token.expired", grpc.StatusCode.UNAUTHENTICATED),
        ("workload.missing", grpc.StatusCode.PERMISSION_DENIED),
        ("engine.deadline", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_grpc_client_sees_a_grpc_status(lab, code, status):
    _, port = lab
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/deny/{code}")(b"")
    assert caught.value.code() == status
    assert caught.value.details().startswith(f"{code}: ")
    assert dict(caught.value.initial_metadata() or ()).get("x-extauthz-decision-id", ID) == ID
