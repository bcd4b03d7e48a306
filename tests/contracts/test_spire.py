"""With SPIRE in place of our agent: Envoy's certificate, our own identity, and the caller's are all SPIRE's.

Envoy runs the shipped `envoy/storage.yaml`; only its AGENT_SOCKET is another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import WorkloadApiClient

from extauthz.demo import processes
from extauthz.demo.files import render, shared
from extauthz.demo.probes import http_ok, until_ready
from extauthz.demo.processes import Part
from tests.support import spire
from tests.support.parts import require_embedded, require_envoy, require_spire
from tests.support.sds_envoy import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]

RETRAINER = "spiffe://bank.example/env/prod/ns/training/sa/retrainer"
STORE = "spiffe://bank.example/env/prod/ns/storage/sa/feature-store"
PATH = "/v1/datasets/acme/wire-2026"
POLICY = """
package spire

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May it be read?
# entrypoint: true
decision := {"allow": true, "ttl": 1} if input.context.workload.id == "%s"
"""


@dataclass(frozen=True)
class Place:
    spire: spire.Spire
    port: int
    ready: str
    trust: Path
    folder: Path

    async def ask(self, certificate: Path, key: Path) -> tuple[httpx.Response, str]:
        """The answer to a caller with this certificate, and the SPIFFE ID that the server showed."""
        context = ssl.create_default_context(cafile=str(self.trust))
        context.check_hostname = False
        context.load_cert_chain(certificate, key)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            url = f"https://127.0.0.1:{self.port}{PATH}"
            async with client.stream("GET", url, headers={"host": "storage.bank.example"}) as answer:
                shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
                await answer.aread()
        return answer, next(value for kind, value in shown["subjectAltName"] if kind == "URI")


def settings(folder: Path, agent: Path) -> dict:
    return {
        "version": 1,
        "environment": "prod",
        "server": {"listen": f"unix://{folder}/check.sock", "http": f"unix://{folder}/http.sock"},
        "identity": {"socket": f"unix://{agent}"},
        "workload": {"trust_domains": {"bank.example": {"trust_bundle": "identity"}}, "xfcc": "last"},
        "policy": {"engine": "embedded", "path": str(folder / "policy")},
        "routes": [
            {
                "name": "read-dataset",
                "match": {"methods": ["GET"], "path": "/v1/datasets/{tenant}/{dataset}"},
                "workloads": [RETRAINER],
                "credential": "workload",
                "action": "dataset.read",
                "resource": {"type": "dataset", "id": "{dataset}"},
                "policy": "spire/decision",
            }
        ],
    }


@asynccontextmanager
async def service(path: Path):
    """What stands behind Envoy: it says which caller it was told of."""

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        told = next((line.split(": ")[1] for line in head.split("\r\n") if line.startswith("x-extauthz-workload")), "")
        body = json.dumps({"workload": told}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    require_spire()
    require_embedded()
    envoy, python = os.path.realpath(require_envoy()), os.path.realpath(sys.executable)
    _, agent = spire.find()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="e-", dir="/tmp")))
        workloads = {envoy: STORE, python: STORE, os.path.realpath(agent): RETRAINER}
        (folder / "spire").mkdir()
        running = await stack.enter_async_context(spire.running(folder / "spire", workloads))
        (folder / "policy").mkdir()
        (folder / "policy" / "spire.rego").write_text(POLICY % RETRAINER)
        (folder / "extauthz.yaml").write_text(yaml.safe_dump(settings(folder, running.socket)))
        port = free_port()
        values = {
            "ADMIN_SOCKET": f"{folder}/admin.sock",
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(port),
            "AGENT_SOCKET": str(running.socket),
            "ACCESS_LOG": f"{folder}/access.log",
            "EXTAUTHZ_SOCKET": f"{folder}/check.sock",
            "SERVICE_SOCKET": f"{folder}/service.sock",
        }
        (folder / "envoy.yaml").write_text(render((shared("envoy") / "storage.yaml").read_text(), values))
        await stack.enter_async_context(service(folder / "service.sock"))
        serve = [sys.executable, "-m", "extauthz", "serve", str(folder / "extauthz.yaml")]
        proxy = [envoy, "--config-path", str(folder / "envoy.yaml"), "--disable-hot-restart", "--concurrency", "1"]
        parts = [Part("extauthz", serve, folder / "extauthz.log"), Part("envoy", proxy, folder / "envoy.log")]
        stack.callback(processes.stop, parts)
        for part, probe in zip(parts, (("readyz", "http"), ("ready", "admin")), strict=True):
            part.start()
            await until_ready(part, http_ok(f"http://local/{probe[0]}", folder / f"{probe[1]}.sock"), 60)
        yield Place(running, port, f"{folder}/http.sock", folder / "spire" / "bootstrap.pem", folder)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_workload_that_spire_attested_is_let_in(place):
    answer, server = await place.ask(*await place.spire.fetch(place.folder / "caller"))
    assert (answer.status_code, answer.json()) == (200, {"workload": RETRAINER})
    assert server == STORE


@pytest.mark.asyncio(loop_scope="module")
async def test_another_workload_of_spire_is_not(place):
    with WorkloadApiClient(f"unix://{place.spire.socket}") as client:
        context = await asyncio.to_thread(client.fetch_x509_context)
    svid = context.default_svid
    assert str(svid.spiffe_id) == STORE
    certificate, key = place.folder / "other.pem", place.folder / "other.key"
    svid.save(str(certificate), str(key), Encoding.PEM)
    answer, _ = await place.ask(certificate, key)
    assert (answer.status_code, answer.json()["code"]) == (403, "workload.route_denied")


@pytest.mark.asyncio(loop_scope="module")
async def test_our_own_identity_is_spires(place):
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=place.ready)) as client:
        page = (await client.get("http://local/readyz?verbose")).json()
    own = page["workers"][0]["identity"]
    assert (own["ready"], own["id"]) == (True, STORE)
