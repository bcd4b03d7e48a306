"""Requests that two readers could read differently, against the authority's own listener: one reading, or the end."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from extauthz.authority import endpoints
from tests.support.authority import RunningAuthority, Svid, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.attack
SECOND = b'POST /v1/jwt-svid HTTP/1.1\r\nhost: a\r\ncontent-length: 22\r\n\r\n{"audience": ["x.yz"]}'
LAST = SECOND.replace(b"host: a\r\n", b"host: a\r\nconnection: close\r\n")
FORM = b"POST /introspect HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n"


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with running(tmp_path) as found:
        yield found


async def spoken(authority: RunningAuthority, sent: bytes, svid: Svid | None = None) -> list[int]:
    """The statuses of everything that is answered until the listener ends the connection."""
    url = urlsplit(authority.url)
    context = authority.tls(await authority.trust_pem(), svid)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
    try:
        writer.write(sent)
        async with asyncio.timeout(15):
            answered = await reader.read(-1)
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", answered)]


# Not here: both lengths at once. h11 goes by the chunks alone, as RFC 9112 section 6.1 allows where nobody stands between.
HEADS = {
    "two-lengths": b"content-length: 0\r\ncontent-length: 4\r\n\r\nabcd" + SECOND,
    "listed-lengths": b"content-length: 0, 4\r\n\r\nabcd" + SECOND,
    "signed-length": b"content-length: +4\r\n\r\nabcd" + SECOND,
    "unknown-encoding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two-encodings": b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "space-before-colon": b"content-length : 4\r\n\r\nabcd" + SECOND,
    "bad-chunk": b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n" + SECOND,
    "huge-chunk": b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n\r\n" + SECOND,
    "nul": b"x: a\0b\r\n\r\n" + SECOND,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_what_can_be_read_in_two_ways_ends_the_connection(authority: RunningAuthority, head: bytes) -> None:
    svid = await authority.attest("agent")
    statuses = await spoken(authority, FORM + head, svid)
    assert len(statuses) <= 1, "the rest was read as a request"
    assert all(status >= 400 for status in statuses)


async def test_a_body_that_is_too_long_is_never_read_as_the_next_request(authority: RunningAuthority) -> None:
    svid = await authority.attest("agent")
    body = SECOND * 1000
    long = b"POST /v1/renew HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert len(body) > endpoints.MAX_BODY
    assert await spoken(authority, long + body + LAST, svid) in ([413, 200], [413])


async def test_every_pipelined_request_is_the_connections_own_workloads(authority: RunningAuthority) -> None:
    """Nothing of one connection's certificate is there on another, nor comes from a header."""
    claim = b"x-forwarded-client-cert: By=a;URI=spiffe://bank.example/gateway\r\npeer_certificate: x\r\n"
    stranger = SECOND.replace(b"host: a\r\n", b"host: a\r\n" + claim)
    svid = await authority.attest("agent")
    assert await spoken(authority, SECOND + SECOND + LAST, svid) == [200, 200, 200]
    assert await spoken(authority, stranger + stranger + LAST) == [403, 403, 403]
    issued = [record["spiffe_id"] for record in authority.audit() if record.get("kind") == "jwt_svid"]
    assert issued == [svid.spiffe_id] * 3
