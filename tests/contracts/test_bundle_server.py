"""`extauthz serve` and `extauthz policy serve` together, as real processes: a new bundle reaches every worker by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.support.bundles import Signer, packed
from tests.support.engines import eventually
from tests.support.parts import require_opa

pytestmark = pytest.mark.opa


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.asynccontextmanager
async def process(*arguments: str):
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "extauthz",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.terminate()
        await running.wait()


async def test_a_new_bundle_reaches_every_worker(tmp_path_factory):
    require_opa()
    signer = Signer()
    bundles = tmp_path_factory.mktemp("bundles")

    def put(data: bytes) -> None:
        (bundles / ".new").write_bytes(data)
        (bundles / ".new").replace(bundles / "policy.tar.gz")

    put(packed(signer, sequence=1))
    authority, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="xb-") as name:  # pytest's own paths are too long for a socket
        directory = Path(name)
        (directory / "key.pem").write_bytes(signer.public_pem)
        config = {
            "server": {"transport": "grpcio", "workers": 2, "listen": f"127.0.0.1:{free_port()}", "http": http},
            "policy": {
                "bundle": {
                    "url": f"http://{authority}/bundles/policy.tar.gz",
                    "keys": [{"file": "key.pem"}],
                    "keep": "kept",
                    "poll": "200ms",
                }
            },
        }
        (directory / "extauthz.yaml").write_text(json.dumps(config))

        async def told(client: httpx.AsyncClient) -> dict:
            try:
                return (await client.get(f"http://{http}/readyz?verbose")).json()
            except httpx.HTTPError:
                return {"workers": []}

        async def serves(client: httpx.AsyncClient, revision: str) -> bool:
            found = await told(client)
            revisions = [one.get("engine", {}).get("revision") for one in found["workers"]]
            return revisions == [revision] * 2 and found["ready"]

        async with httpx.AsyncClient(trust_env=False) as client:
            async with (
                process("policy", "serve", str(bundles), "--listen", authority),
                process("serve", str(directory / "extauthz.yaml")),
            ):
                await eventually(lambda: serves(client, "r1"), 60)
                put(packed(signer, sequence=2, revision="r2", allowed=["clerk", "boss"]))
                await eventually(lambda: serves(client, "r2"), 60)
                put(packed(Signer(), sequence=3, revision="r3"))

                async def refused() -> bool:
                    return (await told(client)).get("policy_bundle", {}).get("refusals") == 1

                await eventually(refused, 60)
                found = await told(client)
                assert "has a wrong signature" in found["policy_bundle"]["refused"]
                assert found["policy_bundle"]["sequence"] == 2
                assert await serves(client, "r2")
                page = (await client.get(f"http://{http}/metrics")).text
                assert "extauthz_policy_bundles_refused_total 1" in page
            async with process("serve", str(directory / "extauthz.yaml")):  # the bundle server is gone
                await eventually(lambda: serves(client, "r2"), 60)
