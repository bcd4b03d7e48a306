"""The bundle server and its clients: a real OPA, and our own source. Both learn of a new bundle by long polling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys

import httpx
import pytest

from extauthz.outbound import Outbound
from extauthz.policy.bundle_service import LONG_POLL, PLAIN, BundleService
from extauthz.policy.bundle_settings import BundleSettings
from extauthz.policy.bundle_sources import HttpSource
from extauthz.tasks import Tasks
from tests.support.bank import open_bank
from tests.support.bundles import Signer, packed, served
from tests.support.engines import eventually
from tests.support.parts import require_opa

TOKEN = "let-me-in"
ROUTE = {
    "name": "create-transfer",
    "match": {"path": "/v1/transfers", "methods": ["POST"]},
    "public": True,
    "credential": "none",
    "policy": "demo/decision",
    "action": "x",
    "resource": {"type": "x"},
}


def put(directory, data: bytes, name: str = "policy.tar.gz") -> None:
    (directory / f".{name}").write_bytes(data)
    (directory / f".{name}").replace(directory / name)


async def test_etag_wait_and_token(tmp_path):
    put(tmp_path, packed())
    async with served(tmp_path, token=TOKEN) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/policy.tar.gz")).status_code == 401
        wrong = await client.get(f"{url}/policy.tar.gz", headers={"authorization": f"Bearer {TOKEN}x"})
        assert wrong.status_code == 401
        client.headers["authorization"] = f"Bearer {TOKEN}"
        assert (await client.get(f"{url}/../pyproject.toml")).status_code == 404
        assert (await client.get(f"{url}/other.tar.gz")).status_code == 404
        first = await client.get(f"{url}/policy.tar.gz")
        assert (first.status_code, first.content, first.headers["content-type"]) == (200, packed(), PLAIN)
        known = {"if-none-match": first.headers["etag"]}
        again = await client.get(f"{url}/policy.tar.gz", headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        soon = await client.get(f"{url}/policy.tar.gz", headers={**known, "prefer": "modes=snapshot,delta;wait=0"})
        assert (soon.status_code, soon.headers["content-type"]) == (304, LONG_POLL)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                client.get(
                    f"{url}/policy.tar.gz", headers={**known, "prefer": "modes=snapshot,delta;wait=60"}, timeout=60
                )
            )
            await asyncio.sleep(0.3)
            assert not waiting.done()
            put(tmp_path, packed(revision="r2"))
        answer = waiting.result()
        assert (answer.status_code, answer.content) == (200, packed(revision="r2"))
        assert answer.headers["etag"] != first.headers["etag"]


@pytest.mark.fault
async def test_a_half_written_bundle_is_never_published(tmp_path):
    put(tmp_path, packed())
    service = BundleService(tmp_path)
    await service.look()
    before = service.etags
    for broken in (packed(revision="r2")[:200], b"", b"not gzip"):
        (tmp_path / "policy.tar.gz").write_bytes(broken)
        await service.look()
        assert service.etags == before
    put(tmp_path, packed(revision="r2"))
    await service.look()
    assert service.etags != before
    (tmp_path / "policy.tar.gz").unlink()
    await service.look()
    assert service.etags == {}


async def test_our_source_learns_of_a_new_bundle_by_a_long_poll(tmp_path):
    put(tmp_path, packed())
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    async with served(tmp_path, token=TOKEN) as (url, _):
        settings = BundleSettings(
            url=f"{url}/policy.tar.gz",
            unsafe_unsigned=True,
            keep="kept",
            poll="1h",
            wait="60s",
            token_file=tmp_path / "token",
        )
        source = HttpSource(settings, 1024**2, outbound=Outbound([url]))
        assert await source.newest() == packed()
        told = asyncio.Event()

        async def changed() -> None:
            told.set()

        tasks = Tasks()
        tasks.start(source.follow(changed), "follow")
        await asyncio.sleep(0.5)
        assert not told.is_set()
        put(tmp_path, packed(revision="r2"))
        async with asyncio.timeout(20):  # `poll` is an hour: only a long poll can tell
            await told.wait()
        assert await source.newest() == packed(revision="r2")
        await tasks.close()
        await source.close()


async def revision(client: httpx.AsyncClient) -> str:
    try:
        answer = (await client.get("/v1/data/demo?provenance=true")).json()
    except httpx.HTTPError:
        return ""
    return answer.get("provenance", {}).get("bundles", {}).get("demo", {}).get("revision", "")


@contextlib.asynccontextmanager
async def own_opa(directory, url: str, signer: Signer, socket: str):
    """An OPA of the operator's own: our server is its bundle service, our key is in its configuration."""
    config = {
        "services": {"authority": {"url": url, "credentials": {"bearer": {"token": TOKEN}}}},
        "keys": {"default": {"algorithm": "ES256", "key": signer.public_pem.decode()}},
        "bundles": {
            "demo": {
                "service": "authority",
                "resource": "policy.tar.gz",
                "signing": {"keyid": "default"},
                "polling": {"long_polling_timeout_seconds": 30},
            }
        },
    }
    (directory / "opa.json").write_text(json.dumps(config))
    with (directory / "opa.log").open("wb") as log:
        running = subprocess.Popen(  # noqa: ASYNC220 - started once, in no time
            [require_opa(), "run", "--server", "--addr", f"unix://{socket}", "--config-file", directory / "opa.json",
             "--skip-version-check", "--log-level", "debug"],
            stdout=log, stderr=log,
        )  # fmt: skip
    transport = httpx.AsyncHTTPTransport(uds=socket)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://opa") as client:
            yield client
    finally:
        running.terminate()
        running.wait()


@pytest.mark.opa
async def test_a_real_opa_is_our_client_and_revisions_must_agree(tmp_path, tmp_path_factory):
    """OPA verifies our signature, long-polls, and the server is ready only while both have the same revision."""
    signer = Signer()
    bundles = tmp_path_factory.mktemp("bundles")
    put(bundles, packed(signer, sequence=1))
    socket = str(tmp_path / "o.sock")
    if len(socket) > 100:
        socket = os.path.relpath(socket)
    async with served(bundles, token=TOKEN) as (url, _), own_opa(tmp_path, url, signer, socket) as client:
        await eventually(lambda: _is(client, "r1"))
        (tmp_path / "key.pem").write_bytes(signer.public_pem)
        (tmp_path / "policy.tar.gz").write_bytes(packed(signer, sequence=1))
        policy = {
            "engine": "sidecar",
            "sidecar": {"supervise": False, "address": f"unix://{tmp_path / 'o.sock'}", "watch": "100ms"},
            "bundle": {"file": "policy.tar.gz", "keys": [{"file": "key.pem"}]},
        }
        bank = await open_bank(tmp_path, "sidecar", policy=policy, routes=[ROUTE])
        try:
            await eventually(lambda: _ready(bank))
            assert (await bank.ask("")).metadata["revision"] == "r1"
            put(bundles, packed(signer, sequence=2, revision="r2", allowed=["clerk", "boss"]))
            await eventually(lambda: _is(client, "r2"))  # OPA polls rarely by default: the long poll told it
            await eventually(lambda: _not_ready(bank))
            (tmp_path / "policy.tar.gz").write_bytes(
                packed(signer, sequence=2, revision="r2", allowed=["clerk", "boss"])
            )
            assert await bank.reload() == []
            await eventually(lambda: _ready(bank))
            put(bundles, packed(Signer(), sequence=3, revision="r3"))  # another key under the same id
            await eventually(lambda: b"Bundle load failed" in (tmp_path / "opa.log").read_bytes())
            assert await revision(client) == "r2"
        finally:
            await bank.close()


async def _is(client, wanted):
    return await revision(client) == wanted


async def _ready(bank):
    return (await bank.app.status())["ready"]


async def _not_ready(bank):
    return not await _ready(bank)


async def test_the_verb_serves(tmp_path):
    put(tmp_path, packed())
    (tmp_path / "token").write_text(TOKEN)
    command = [sys.executable, "-m", "extauthz", "policy", "serve", str(tmp_path), "--listen", "127.0.0.1:0"]
    running = await asyncio.create_subprocess_exec(
        *command,
        "--token-file",
        str(tmp_path / "token"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert running.stdout is not None
        line = (await running.stdout.readline()).decode()
        assert line.startswith("serving 1 policy bundles on 127.0.0.1:")
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{line.split()[-1]}/bundles/policy.tar.gz"
            answer = await client.get(url, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.content == packed()
    finally:
        running.terminate()
        await running.communicate()
