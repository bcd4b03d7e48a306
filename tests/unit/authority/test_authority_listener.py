"""The authority's listener on real sockets: peer certificates, rotation without restart, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from extauthz.authority import http
from extauthz.authority.http import Listener, body
from extauthz.authority.tls import ListenerTls
from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.tasks import Tasks
from extauthz.transport import choose
from tests.support.certs import Leaf, TestCa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

NOW = SystemClock().now()
DAY = 86400.0
NONE = hashlib.sha256(b"").hexdigest()


def ca(name: str) -> TestCa:
    return TestCa(name, not_before=NOW - DAY, not_after=NOW + DAY)


def leaf(of: TestCa, name: str, *, ends: float = NOW + 3600) -> Leaf:
    return of.leaf(f"spiffe://bank.example/{name}", dns=("localhost",), not_before=NOW - 60, not_after=ends)


def client_tls(tmp_path: Path, trusted: TestCa, mine: Leaf | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trusted.pem)
    if mine is not None:
        file = tmp_path / f"{mine.hash}.pem"
        key = mine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        file.write_text(mine.pem + key)
        context.load_cert_chain(file)
    return context


async def _peer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(hashlib.sha256(request.state.peer_certificate).hexdigest())


async def _body(request: Request) -> PlainTextResponse:
    found = await body(request, 1024)
    return PlainTextResponse("refused" if found is None else str(len(found)))


APP = Starlette(routes=[Route("/", _peer), Route("/body", _body, methods=["POST"])])


@asynccontextmanager
async def serving(tls: ListenerTls, connections: int = 256) -> AsyncIterator[str]:
    listening = choose.listen("127.0.0.1:0")
    server = Listener(APP, tls=tls.context, connections=connections)
    tasks = Tasks()
    running = tasks.start(server.serve_on(listening), "listener")
    try:
        yield f"https://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def test_the_peers_certificate_reaches_the_request(tmp_path: Path) -> None:
    root = ca("one")
    server, mine = leaf(root, "authority"), leaf(root, "agent")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    async with serving(tls) as url:
        async with httpx.AsyncClient(verify=client_tls(tmp_path, root, mine)) as client:
            for _ in range(2):  # the same on a kept connection
                assert (await client.get(url)).text == hashlib.sha256(mine.der).hexdigest()
        async with httpx.AsyncClient(verify=client_tls(tmp_path, root)) as client:
            assert (await client.get(url)).text == NONE


async def test_the_next_handshake_follows_a_rotation(tmp_path: Path) -> None:
    old, new = ca("old"), ca("new")
    first, second = leaf(old, "authority"), leaf(new, "authority")
    tls = ListenerTls(first.pem.encode(), first.key, [old.certificate])
    theirs, ours = leaf(old, "agent"), leaf(new, "agent")
    async with serving(tls) as url:
        async with httpx.AsyncClient(verify=client_tls(tmp_path, old, theirs)) as client:
            assert (await client.get(url)).text == hashlib.sha256(theirs.der).hexdigest()
        tls.renew(second.pem.encode(), second.key, [new.certificate])
        async with httpx.AsyncClient(verify=client_tls(tmp_path, new, theirs)) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(url)
        async with httpx.AsyncClient(verify=client_tls(tmp_path, old)) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(url)
        async with httpx.AsyncClient(verify=client_tls(tmp_path, new, ours)) as client:
            assert (await client.get(url)).text == hashlib.sha256(ours.der).hexdigest()


@pytest.mark.parametrize("named", [True, False])
async def test_no_session_is_resumed_and_no_name_is_needed(tmp_path: Path, named: bool) -> None:
    root = ca("one")
    server = leaf(root, "authority")
    other = leaf(root, "other")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    tls.renew(other.pem.encode(), other.key, [root.certificate])
    context = client_tls(tmp_path, root, leaf(root, "agent"))
    context.check_hostname = False
    async with serving(tls) as url:
        port = httpx.URL(url).port

        def connect(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None, bytes | None]:
            name = "localhost" if named else None
            with (
                socket.create_connection(("127.0.0.1", port)) as raw,
                context.wrap_socket(raw, server_hostname=name, session=session) as tls_socket,
            ):
                tls_socket.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                while tls_socket.recv(4096):
                    pass
                return tls_socket.session_reused, tls_socket.session, tls_socket.getpeercert(binary_form=True)

        _, session, certificate = await asyncio.to_thread(connect, None)
        assert certificate == other.der
        reused, _, _ = await asyncio.to_thread(connect, session)
        assert reused is False


@pytest.mark.parametrize("ends", [NOW - 1, NOW + 3600])
async def test_a_certificate_of_somebody_else_or_an_expired_one_ends_the_handshake(tmp_path: Path, ends: float) -> None:
    root = ca("one")
    server = leaf(root, "authority")
    mine = leaf(root if ends < NOW else ca("foreign"), "agent", ends=ends)
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    async with (
        serving(tls) as url,
        httpx.AsyncClient(verify=client_tls(tmp_path, root, mine)) as client,
    ):
        with pytest.raises(httpx.TransportError):
            await client.get(url)


def test_a_key_of_another_certificate_is_refused_and_changes_nothing() -> None:
    root = ca("one")
    server, other = leaf(root, "authority"), leaf(root, "other")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    before = tls._newest
    with pytest.raises(ExtauthzError, match="TLS refuses"):
        tls.renew(server.pem.encode(), other.key, [root.certificate])
    assert tls._newest is before


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    root = ca("one")
    server = leaf(root, "authority")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(500)

    async with serving(tls) as url, httpx.AsyncClient(verify=client_tls(tmp_path, root)) as client:
        assert (await client.post(f"{url}/body", content=bytes(1024))).text == "1024"
        assert (await client.post(f"{url}/body", content=bytes(1025))).text == "refused"
        assert (await client.post(f"{url}/body", content=chunks())).text == "refused"


async def test_older_tls_is_not_spoken(tmp_path: Path) -> None:
    root = ca("one")
    server = leaf(root, "authority")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    context = client_tls(tmp_path, root)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(tls) as url, httpx.AsyncClient(verify=context) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def _read_until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_slow_head_and_a_slow_body_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(http, "BODY_SECONDS", 0.2)
    root = ca("one")
    server = leaf(root, "authority")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    async with serving(tls) as url:
        port = httpx.URL(url).port
        for sent, answer in (
            (b"GET / HT", b""),
            (b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\n", b"refused"),
        ):
            context = client_tls(tmp_path, root)
            reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
            writer.write(sent)
            assert (await _read_until_closed(reader)).endswith(answer)
            writer.close()


async def test_a_head_that_is_too_large_is_refused(tmp_path: Path) -> None:
    root = ca("one")
    server = leaf(root, "authority")
    tls = ListenerTls(server.pem.encode(), server.key, [root.certificate])
    async with serving(tls) as url, httpx.AsyncClient(verify=client_tls(tmp_path, root)) as client:
        with contextlib.suppress(httpx.ReadError):  # a reset may overtake the answer
            assert (await client.get(url, headers={"x-large": "a" * 2**20})).status_code == 400
        assert (await client.get(url)).status_code == 200
