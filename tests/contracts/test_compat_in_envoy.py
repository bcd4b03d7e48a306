"""Compatible answers as Envoy understands them: header actions, removals, queries, and its own failure mode."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from extauthz.check import messages
from extauthz.transport.grpcio import GrpcioServer
from extauthz.transport.health import Health
from extauthz.transport.reflection import Reflection
from extauthz.transport.spec import WorkerSpec
from tests.support import compat_cases, parts
from tests.support.compat_server import free_port
from tests.support.compat_worker import open_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.envoy, pytest.mark.embedded]
MINIMAL = Path(__file__).parents[2] / "envoy" / "minimal.yaml"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
RESULTS: dict[str, Any] = {
    "/allow": {
        "allowed": True,
        "headers": {"x-a": ["1", "2"], "x-user": "alice"},
        "response_headers_to_add": {"set-cookie": ["a=1", "b=2"], "x-up": "ours"},
        "request_headers_to_remove": ["x-gone"],
        "query_parameters_to_set": {"tenant": "acme"},
        "query_parameters_to_remove": ["debug"],
    },
    "/deny": {
        "allowed": False,
        "http_status": 401,
        "headers": {"content-type": "application/json", "set-cookie": ["a=1", "b=2"]},
        "body": '{"error":"login"}',
    },
    "/true": True,
    "/false": False,
}


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its path and the header lines that came."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        lines = [line.split(": ", 1) for line in head[1:] if ": " in line]
        body = json.dumps({"path": head[0].split(" ")[1], "headers": lines}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nx-up: theirs\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
    writer.close()


def envoy_config(port: int, check: int, service: int, *, failure_mode_allow: bool) -> dict[str, Any]:
    """The shipped configuration, as a user of the plugin has it: headers as a map, results named by route."""
    config: dict[str, Any] = yaml.safe_load(MINIMAL.read_text())
    config.pop("overload_manager", None)
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    filter_ = manager["http_filters"][0]["typed_config"]
    filter_["encode_raw_headers"] = False
    filter_["failure_mode_allow"] = failure_mode_allow
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    for path, result in RESULTS.items():
        settings = {"context_extensions": {"result": json.dumps(result)}}
        override = {"envoy.filters.http.ext_authz": {"@type": PER_ROUTE, "check_settings": settings}}
        routes.insert(
            0, {"match": {"prefix": path}, "route": {"cluster": "service"}, "typed_per_filter_config": override}
        )
    for cluster, place in zip(config["static_resources"]["clusters"], (check, service), strict=True):
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = place
    return config


@asynccontextmanager
async def lab(folder: Path, *, failure_mode_allow: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    check, port = free_port(), free_port()
    service = await asyncio.start_server(upstream, "127.0.0.1", 0)
    async with open_worker(folder, "embedded", compat_cases.SERVERS["plain"]) as app:
        spec = WorkerSpec(0, "", str(folder), f"127.0.0.1:{check}", 4 * 1024 * 1024, 64)
        server = GrpcioServer(app, Health(()), Reflection(messages.FILES, (messages.SERVICE,)), spec)
        await server.start()
        config = envoy_config(port, check, service.sockets[0].getsockname()[1], failure_mode_allow=failure_mode_allow)
        envoy = await asyncio.create_subprocess_exec(
            str(parts.require_envoy()),
            *("--config-yaml", json.dumps(config), "--concurrency", "1", "--log-level", "error"),
            "--disable-hot-restart",
        )
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10, base_url=f"http://127.0.0.1:{port}") as client:
                await _up(envoy, port)
                yield client
        finally:
            if envoy.returncode is None:
                envoy.kill()
            await envoy.wait()
            await server.stop()
            service.close()


async def _up(envoy: asyncio.subprocess.Process, port: int) -> None:
    while envoy.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError("Envoy did not start")


async def test_what_envoy_makes_of_results(tmp_path):
    async with lab(tmp_path) as client:
        spoofed = [("x-user", "eve"), ("x-a", "0"), ("x-gone", "1"), ("x-kept", "1")]
        allowed = await client.get("/allow?debug=1&tenant=evil&keep=1", headers=spoofed)
        assert allowed.status_code == 200
        seen = allowed.json()
        values: dict[str, list[str]] = {}
        for name, value in seen["headers"]:
            values.setdefault(name, []).append(value)
        assert values["x-user"] == ["alice"], "a client's copy is overwritten, not appended to"
        assert ",".join(values["x-a"]) == "1,2"
        assert "x-gone" not in values
        assert values["x-kept"] == ["1"]
        assert seen["path"] == "/allow?keep=1&tenant=acme"
        assert allowed.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert allowed.headers.get_list("x-up") == ["theirs", "ours"]

        denied = await client.get("/deny")
        assert denied.status_code == 401
        assert denied.headers.get_list("content-type") == ["application/json"]
        assert denied.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert denied.text == '{"error":"login"}'

        assert (await client.get("/true")).status_code == 200
        assert (await client.get("/false")).status_code == 403
        broken = await client.post("/true", content=b"{", headers={"content-type": "application/json"})
        assert broken.status_code == 400
        assert broken.text.startswith("request_parse_error: ")


@pytest.mark.parametrize(("failure_mode_allow", "status"), [(False, 503), (True, 200)])
async def test_a_policy_without_an_answer_leaves_it_to_envoys_failure_mode(tmp_path, failure_mode_allow, status):
    async with lab(tmp_path, failure_mode_allow=failure_mode_allow) as client:
        assert (await client.get("/undefined")).status_code == status
        assert (await client.get("/false")).status_code == 403
