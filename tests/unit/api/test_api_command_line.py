"""`extauthz policy status|promote|rollback` and `GET /decisions/{id}` against a real listener and a real worker."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from extauthz.api.client import ApiError, ServerApi, find
from extauthz.cli.policy import app as policy_app
from extauthz.supervisor.api import ApiForwarder
from extauthz.supervisor.http import HttpServer, Overview
from extauthz.tasks import Tasks
from tests.support import parts
from tests.support.api import AUDIENCE, DOOR, Worker
from tests.support.bank import POLICIES, TRANSFER, Bank, open_bank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from click.testing import Result

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
API = json.loads(json.dumps({"rollout": {"token": DOOR}, "decisions": {"token": DOOR, "inputs": True}}))


class Place:
    """A server on TCP, and the same on a Unix socket."""

    def __init__(self, bank: Bank, http: str, unix: str) -> None:
        self.bank = bank
        self.http = http
        self.unix = unix
        self.token = bank.directory / "token"
        self.token.write_text(bank.token(aud=AUDIENCE, sub="ops", scope="extauthz.api") + "\n")

    async def run(self, *arguments: str) -> Result:
        """A verb of `extauthz policy`, in a thread: it blocks, and the server is in our loop."""
        command = [*arguments, "--server", self.http, "--token-file", str(self.token)]
        return await asyncio.to_thread(CliRunner().invoke, policy_app, command)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    parts.require_opa()
    parts.require_embedded()
    policy = {
        "engine": "embedded",
        "path": str(POLICIES),
        "candidate": {"path": str(POLICIES), "sample": 100, "rollback": {"min_decisions": 2}},
    }
    (tmp_path / "config").mkdir()
    bank = await open_bank(tmp_path / "config", policy=policy, api=API)
    tasks = Tasks()
    servers: dict[HttpServer, asyncio.Task[None]] = {}
    tcp = socket.create_server(("127.0.0.1", 0))
    path = tmp_path / "http.sock"
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen()
    for listening in (tcp, unix):
        listening.setblocking(False)
        server = HttpServer(Overview(()), ApiForwarder([Worker(bank.app)], unix=listening.family == socket.AF_UNIX))
        servers[server] = tasks.start(server.serve_on(listening), "http")
    while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.002)
    yield Place(bank, f"http://127.0.0.1:{tcp.getsockname()[1]}", f"unix://{path}")
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*servers.values())
    await tasks.close()
    tcp.close()
    unix.close()
    await bank.close()


async def denied(place: Place) -> str:
    answer = await place.bank.ask(body={**TRANSFER, "tenant": "globex"})
    assert answer.code == "attribute.tenant_mismatch"
    return str(answer.metadata["decision_id"])


async def until(ask: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    while not await ask():  # noqa: ASYNC110 - another task's work
        await asyncio.sleep(0.005)


async def test_the_whole_way_of_a_candidate(place: Place) -> None:
    first = await place.run("status")
    assert first.exit_code == 0, first.output
    assert "shadow (configured: shadow)" in first.output
    assert "not to be promoted yet: only 0 decisions were compared" in first.output
    assert (await place.run("status", "--ready")).exit_code == 1
    early = await place.run("promote")
    assert early.exit_code == 1
    assert "not promoted: only 0 decisions" in early.output
    for _ in range(3):
        await place.bank.ask()

    async def ready() -> bool:
        return (await place.run("status", "--ready")).exit_code == 0

    await until(ready)
    status = json.loads((await place.run("status", "--json")).output)
    assert status["objections"] == []
    assert status["candidate"] == status["live"]  # the same files here
    wrong = await place.run("promote", "--candidate", "0" * 32)
    assert (wrong.exit_code, "not 0000" in wrong.output) == (1, True)
    done = await place.run("promote", "--candidate", status["candidate"])
    assert done.exit_code == 0, done.output
    assert "answers now" in done.output
    assert "until the server stops" in done.output
    assert "promoted" in (await place.run("status")).output
    back = json.loads((await place.run("rollback", "--json")).output)
    assert back["phase"] == "shadow"
    assert "shadow → shadow" in (await place.run("rollback", "--clear")).output


async def test_a_ticket_is_the_whole_story_for_operators(place: Place) -> None:
    decision_id = await denied(place)
    token = place.token.read_text().strip()

    def ask(**more: Any) -> dict[str, Any] | None:
        return find(decision_id, server=place.http, token=token, **more)

    async def known() -> bool:
        return await asyncio.to_thread(ask) is not None

    await until(known)
    story = await asyncio.to_thread(ask)
    assert story is not None
    assert story["source"] == "memory"
    assert story["reasons"][0]["code"] == "attribute.tenant_mismatch"
    assert story["reasons"][0]["message"]
    assert story["input"]["subject"]["id"].startswith("masked:")
    assert story["input"]["resource"]["properties"]["tenant"] == "globex"
    assert story["record"]["workload"].startswith("spiffe://")
    for wrong in ("", "nonsense"):
        with pytest.raises(ApiError):
            await asyncio.to_thread(ServerApi(place.http, wrong).decision, decision_id)
    assert await asyncio.to_thread(ServerApi(place.http, token).decision, "../policy/rollout") is None


async def test_an_allowed_decision_is_found_in_the_records(place: Place) -> None:
    answer = await place.bank.ask()
    decision_id = str(answer.metadata["decision_id"])
    token = place.token.read_text().strip()

    async def known() -> bool:
        return await asyncio.to_thread(find, decision_id, server=place.http, token=token) is not None

    await until(known)
    story = await asyncio.to_thread(find, decision_id, server=place.http, token=token)
    assert story is not None
    assert story["source"] == "records"
    assert story["record"]["result"]["allow"] is True
    offline = await asyncio.to_thread(find, decision_id, records=[place.bank.directory / "records.jsonl"])
    assert offline == story
    unknown = "0f8e6a52-7a39-4f0e-9d55-6a3c3a1f0b1e"
    assert await asyncio.to_thread(find, unknown, server=place.http, token=token) is None


async def test_a_unix_socket_alone_is_no_credential(place: Place) -> None:
    """Only `local: true` makes it one."""
    with pytest.raises(ApiError) as refused:
        await asyncio.to_thread(ServerApi(place.unix).rollout)
    assert refused.value.status == 401


async def test_local_callers_come_through_the_unix_socket_alone(place: Place) -> None:
    place.bank.write(
        policy={"engine": "embedded", "path": str(POLICIES)},
        server={"http": "unix:///run/extauthz-test.sock"},
        api={"rollout": {"local": True}},
    )
    assert await place.bank.reload() == []
    assert (await asyncio.to_thread(ServerApi(place.unix).rollout))["candidate"] is None
    with pytest.raises(ApiError) as refused:
        await asyncio.to_thread(ServerApi(place.http).rollout)
    assert refused.value.status == 401
    with pytest.raises(ApiError, match=r"token\.issuer"):
        await asyncio.to_thread(ServerApi(place.unix, "a.b.c").rollout)


async def test_what_cannot_be_reached_is_said(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="is no server"):
        ServerApi("ftp://x")
    with pytest.raises(ApiError, match="does the server run"):
        await asyncio.to_thread(ServerApi(f"unix://{tmp_path}/none.sock").rollout)
    nowhere = await asyncio.to_thread(
        CliRunner().invoke, policy_app, ["status", "--config", str(tmp_path / "none.yaml")]
    )
    assert nowhere.exit_code == 2
    assert "which server?" in nowhere.output
    missing = await asyncio.to_thread(
        CliRunner().invoke, policy_app, ["status", "--server", place.http, "--token-file", str(tmp_path / "none")]
    )
    assert missing.exit_code == 2
