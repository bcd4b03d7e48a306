"""The HTTP client against servers that misbehave. Every call ends in a Response or an OutboundError."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from extauthz.errors import OutboundError
from extauthz.outbound import Outbound, Response, origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(answer: bytes, *, hang: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A raw server that sends `answer` to every request, whatever it is, and remembers what it was sent."""
    seen: list[bytes] = []
    release = asyncio.Event()
    handlers: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client left: that is what some tests want
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if hang:
                await release.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen
    finally:
        release.set()
        listening.close()
        await listening.wait_closed()
        await asyncio.gather(*(task for task in handlers if task is not None))


async def ask(answer: bytes, max_bytes: int = 1_000_000) -> Response:
    async with server(answer) as (url, _):
        outbound = Outbound([url], max_bytes=max_bytes)
        try:
            return await outbound.get(url + "/x")
        finally:
            await outbound.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Issuer.Example:443/a?b", "https://issuer.example"),
        ("http://h:80", "http://h"),
        ("http://h:8080/", "http://h:8080"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("HTTPS://h", "https://h"),
    ],
)
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "ftp://h/",
        "file:///etc/passwd",
        "unix:///x",
        "http://",
        "http://user@h/",
        "http://user:pass@h/",
        "http://good.example\\@evil.example/",
        "http://h:port/",
        "http://h:99999999/",
        "http://h\r\nx: y/",
        "http://h/\x00",
        "http://[::1/",
        "http://xn--a/",
        "http://" + "a" * 70_000,
    ],
)
def test_what_is_not_an_origin(url: str) -> None:
    with pytest.raises(OutboundError):
        origin(url)


async def test_answers_of_any_status_come_back_whole() -> None:
    response = await ask(b"HTTP/1.1 404 No\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 4\r\n\r\nnope")
    assert (response.status, response.body, response.headers["x-a"]) == (404, b"nope", "1, 2")


async def test_only_configured_origins_are_called() -> None:
    async with server(OK) as (url, seen):
        outbound = Outbound(["https://issuer.example"])
        for target in (url, "https://issuer.example:444/", "http://issuer.example/", "https://issuer.example.evil/"):
            with pytest.raises(OutboundError, match="not an origin"):
                await outbound.get(target)
        await outbound.close()
        assert seen == []


async def test_no_origin_means_no_call() -> None:
    outbound = Outbound()
    with pytest.raises(OutboundError, match="not an origin"):
        await outbound.get("https://issuer.example/")
    await outbound.close()


async def test_a_redirect_is_an_answer() -> None:
    async with server(OK) as (elsewhere, visited):
        answer = f"HTTP/1.1 302 Found\r\nlocation: {elsewhere}/\r\ncontent-length: 0\r\n\r\n".encode()
        response = await ask(answer)
        assert response.status == 302
        assert visited == []


async def test_cookies_are_not_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: sid=1; path=/\r\ncontent-length: 2\r\n\r\n{}"
    async with server(answer) as (url, seen):
        outbound = Outbound([url])
        await outbound.get(url + "/x")
        await outbound.get(url + "/x")
        await outbound.close()
        assert len(seen) == 2
        assert b"sid" not in seen[1].lower()


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await ask(OK)).status == 200


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + b"x" * 999, "more than 64 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 18 + b"\r\n\r\n{}", "more than 64 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"20\r\n" + b"x" * 32 + b"\r\n",
            "RemoteProtocolError",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"ff\r\n" + b"x" * 255 + b"\r\n0\r\n\r\n",
            "more than 64",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "more than 64 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"h" * 300_000 + b"\r\n\r\n", "RemoteProtocolError"),
        (b"SSH-2.0-OpenSSH\r\nsecret-token\r\n\r\n", "RemoteProtocolError"),
        (b"\x00\xff" * 50, "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
    ],
)
async def test_answers_that_are_refused(answer: bytes, reason: str) -> None:
    with pytest.raises(OutboundError, match=reason) as caught:
        await ask(answer, max_bytes=64)
    assert "secret" not in str(caught.value)


async def test_a_compressed_answer_is_refused_before_it_is_unpacked() -> None:
    packed = gzip.compress(b"0" * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
    with pytest.raises(OutboundError, match="compressed"):
        await ask(head + packed)


async def test_a_call_may_be_held_to_fewer_bytes() -> None:
    async with server(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n" + b"x" * 20) as (url, _):
        outbound = Outbound([url])
        with pytest.raises(OutboundError, match="more than 10 bytes"):
            await outbound.send("GET", url, max_bytes=10)
        assert (await outbound.send("GET", url, max_bytes=20)).body == b"x" * 20
        await outbound.close()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"HTTP/1.1 100 \r\n\r\n"]
)
async def test_a_server_that_stalls_anywhere_is_given_up(answer: bytes) -> None:
    async with server(answer, hang=True) as (url, _):
        outbound = Outbound([url], timeout=30)
        with pytest.raises(OutboundError, match="did not answer in time"):
            await outbound.get(url, timeout=0.05)
        await outbound.close()


async def test_no_time_left_means_no_call() -> None:
    async with server(OK) as (url, seen):
        outbound = Outbound([url])
        with pytest.raises(OutboundError, match="no time is left"):
            await outbound.get(url, timeout=-0.001)
        assert seen == []
        assert (await outbound.get(url, timeout=float("inf"))).status == 200
        await outbound.close()


@pytest.mark.parametrize("headers", [{"x": "a\r\ny: b"}, {"x": "é\u2603"}, {"x y": "1"}, {"x": "\x00"}])
async def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    async with server(OK) as (url, seen):
        outbound = Outbound([url])
        with pytest.raises(OutboundError):
            await outbound.get(url, headers)
        assert all(b"y: b" not in request for request in seen)
        await outbound.close()


async def test_nobody_listens_and_a_closed_client() -> None:
    async with server(OK) as (url, _):
        pass
    outbound = Outbound([url])
    with pytest.raises(OutboundError, match="ConnectError"):
        await outbound.get(url)
    await outbound.close()
    with pytest.raises(OutboundError, match="closed"):
        await outbound.get(url)


async def test_cancellation_is_not_an_outbound_error() -> None:
    async with server(b"", hang=True) as (url, seen):
        outbound = Outbound([url], timeout=30)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(outbound.get(url))
            while not seen:  # noqa: ASYNC110 - the server has no event of ours to set
                await asyncio.sleep(0)
            call.cancel()
        assert call.cancelled()
        await outbound.close()


async def test_a_transport_may_be_given() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.content, headers={"X-Seen": request.headers["accept-encoding"]})

    outbound = Outbound(["http://pip"], transport=httpx.MockTransport(handler))
    response = await outbound.send("POST", "http://pip/x", content=b"abc", headers={"content-type": "text/plain"})
    assert (response.body, response.headers["x-seen"]) == (b"abc", "identity")
    await outbound.close()
