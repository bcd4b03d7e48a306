"""`outbound.trust_bundle`: a private authority vouches for those that we call, and nobody else does."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from extauthz.demo.dev_ca import DevCa
from extauthz.errors import ConfigError, OutboundError
from extauthz.outbound import Outbound, OutboundSettings


@pytest.fixture
def ca():
    return DevCa("bank.example")


@pytest.fixture
async def url(ca, tmp_path):
    ca.server("localhost").write(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{listening.sockets[0].getsockname()[1]}/"
    listening.close()
    await listening.wait_closed()


async def _get(url, settings):
    outbound = Outbound([url], verify=settings.verify())
    try:
        return (await outbound.get(url)).status
    finally:
        await outbound.close()


async def test_a_private_authority_is_believed(ca, url, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(ca.trust_bundle)
    assert await _get(url, OutboundSettings(trust_bundle=bundle)) == 200


async def test_without_it_only_public_ones_are(url):
    with pytest.raises(OutboundError):
        await _get(url, OutboundSettings())


async def test_another_authority_is_not(url, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(DevCa("bank.example").trust_bundle)
    with pytest.raises(OutboundError):
        await _get(url, OutboundSettings(trust_bundle=bundle))


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"], ids=["missing", "empty", "text"])
def test_a_file_that_holds_none_is_a_problem(tmp_path, content):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ConfigError, match=r"outbound\.trust_bundle"):
        OutboundSettings(trust_bundle=bundle).verify()


async def test_a_context_that_is_asked_for_is_followed_from_call_to_call(ca, url, tmp_path):
    """What `verify` gives next holds for the next call, also for one that could have used an open connection."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(ca.trust_bundle)
    trusting, doubting = ssl.create_default_context(cafile=str(bundle)), ssl.create_default_context()
    given = [trusting, doubting, trusting]
    outbound = Outbound([url], verify=lambda: given[0])
    try:
        assert (await outbound.get(url)).status == 200
        given.pop(0)
        with pytest.raises(OutboundError):
            await outbound.get(url)
        given.pop(0)
        assert (await outbound.get(url)).status == 200
    finally:
        await outbound.close()


async def test_no_context_no_call(url):
    def none() -> ssl.SSLContext:
        raise OutboundError("no identity yet")

    outbound = Outbound([url], verify=none)
    with pytest.raises(OutboundError, match="no identity"):
        await outbound.get(url)
    await outbound.close()
