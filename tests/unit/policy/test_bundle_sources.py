"""How a bundle server is asked: headers, pauses, and what happens while it fails."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from extauthz.errors import ConfigError
from extauthz.outbound import Outbound
from extauthz.policy.bundle_settings import BundleSettings
from extauthz.policy.bundle_sources import LONG_POLL, FileSource, HttpSource

URL = "https://bundles.example/policy.tar.gz"


class Server:
    """Answers in the order of its script, and then not at all."""

    def __init__(self, *script) -> None:
        self.script = list(script)
        self.asked: list[httpx.Request] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if not self.script:
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def ok(body: bytes, etag: str = "", kind: str = "application/gzip") -> httpx.Response:
    return httpx.Response(200, content=body, headers={"etag": etag, "content-type": kind})


def same(kind: str = "application/gzip") -> httpx.Response:
    return httpx.Response(304, headers={"content-type": kind})


def source(server: Server, pauses: list[float], tmp_path, **settings) -> HttpSource:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    token = tmp_path / "token"
    token.write_text("t0ken\n")
    chosen = BundleSettings(
        url=URL, unsafe_unsigned=True, keep="kept", **{"poll": "30s", "wait": "60s", "token_file": token, **settings}
    )
    outbound = Outbound([URL], transport=httpx.MockTransport(server.answer))
    return HttpSource(chosen, 1000, outbound=outbound, sleep=sleep, chance=lambda: 0.5)


async def follow(one: HttpSource, server: Server) -> int:
    """Until the script is at its end; how often a change was told."""
    changes = 0

    async def changed() -> None:
        nonlocal changes
        changes += 1

    async with asyncio.timeout(10):
        task = asyncio.get_running_loop().create_task(one.follow(changed))
        while server.script:  # noqa: ASYNC110 - the loop under test must run, there is no event for it
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await one.close()
    return changes


async def test_the_question_is_opas(tmp_path):
    server, pauses = Server(ok(b"one", '"1"'), same(), ok(b"two", '"2"'), same()), []
    one = source(server, pauses, tmp_path)
    assert await one.newest() == b"one"
    assert await follow(one, server) == 1
    assert await one.newest() == b"two"
    first, *later = server.asked
    assert first.headers["prefer"] == "modes=snapshot,delta;wait=60"
    assert first.headers["authorization"] == "Bearer t0ken"
    assert "if-none-match" not in first.headers
    assert [request.headers["if-none-match"] for request in later[:3]] == ['"1"', '"1"', '"2"']
    assert set(pauses) == {30.0}


async def test_a_server_that_takes_long_polls_is_asked_again_at_once(tmp_path):
    server, pauses = Server(ok(b"one", '"1"', LONG_POLL), same(LONG_POLL), same(LONG_POLL), same()), []
    one = source(server, pauses, tmp_path)
    await one.newest()
    assert await follow(one, server) == 0
    assert pauses[:3] == [0.1, 0.1, 0.1]
    assert pauses[3] == 30.0


async def test_without_long_polls_none_is_asked_for(tmp_path):
    server, pauses = Server(ok(b"one", '"1"', LONG_POLL), same(LONG_POLL)), []
    one = source(server, pauses, tmp_path, wait="0s")
    await one.newest()
    await follow(one, server)
    assert {request.headers["prefer"] for request in server.asked} == {"modes=snapshot,delta"}
    assert set(pauses) == {30.0}


async def test_a_failing_server_is_asked_ever_more_rarely_and_taken_back(tmp_path):
    failures = [httpx.ConnectError("x"), httpx.Response(500), httpx.Response(404), httpx.Response(302), ok(b"x" * 1001)]
    server, pauses = Server(ok(b"one", '"1"', LONG_POLL), *failures, ok(b"two", '"2"', LONG_POLL)), []
    one = source(server, pauses, tmp_path)
    await one.newest()
    assert await follow(one, server) == 1
    assert await one.newest() == b"two"
    assert pauses[:6] == [0.1, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert pauses[6] == 0.1


async def test_the_same_bytes_under_another_etag_are_no_change(tmp_path):
    server, pauses = Server(ok(b"one", '"1"'), ok(b"one", '"2"'), ok(b"one")), []
    one = source(server, pauses, tmp_path)
    await one.newest()
    assert await follow(one, server) == 0


@pytest.mark.parametrize("answer", [httpx.ConnectError("x"), httpx.Response(503), httpx.Response(304), ok(b"x" * 1001)])
async def test_a_start_without_the_server_says_so(tmp_path, answer):
    one = source(Server(answer), [], tmp_path)
    with pytest.raises(ConfigError, match="check the bundle server"):
        await one.newest()
    await one.close()


async def test_a_token_that_cannot_be_read_is_not_left_out(tmp_path):
    server = Server(ok(b"one"))
    one = source(server, [], tmp_path)
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(ConfigError, match="holds no token"):
        await one.newest()
    assert server.asked == []
    await one.close()


async def test_a_file_is_read_each_time(tmp_path):
    one = FileSource(tmp_path / "b", 10)
    with pytest.raises(ConfigError, match="cannot be read"):
        await one.newest()
    (tmp_path / "b").write_bytes(b"x" * 20)
    assert await one.newest() == b"x" * 11  # one more than the limit: it is refused as too large, not cut
