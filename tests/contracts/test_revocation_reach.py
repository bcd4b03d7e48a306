"""Every revocation reaches every server process, through Redis and through the feed; `bench.revocation` times it.

And the feed as real HTTP: what a server that fails, lies or stalls does to a follower.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest

from bench.revocation import measure, through_feed, through_redis
from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_feed import FeedSource, OutboundFeed
from extauthz.authn.revocation_follower import Follower
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import SystemClock
from extauthz.outbound import Outbound
from extauthz.store.revocations import Page, Revocation
from extauthz.tasks import Tasks
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAR = SystemClock().now() + 3600


@pytest.mark.parametrize("way", [through_redis, through_feed])
async def test_every_revocation_reaches_every_server(way) -> None:
    async with way() as opened:
        delays = await measure(opened, servers=3, count=20)
    assert len(delays) == 60
    assert min(delays) > 0


def ok(page: Page) -> bytes:
    body = orjson.dumps(page.plain())
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def page(sequence: int, *values: str) -> Page:
    return Page(sequence, complete=True, entries=tuple(Revocation("jti", value, FAR) for value in values))


class Server:
    """Answers each request, one a connection, with what the test says; then with nothing, for ever."""

    def __init__(self, *answers: bytes | Callable[[], bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b" ")[1].decode())
            if not self.answers:
                await reader.read()
                return
            writer.write(self.answers.pop(0).replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def following(server: Server, **settings: object) -> AsyncIterator[Revocations]:
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1/revocations"
    feed = {"url": url, "timeout": "300ms"}
    revocations = Revocations(RevocationSettings(feed=feed, **settings), SystemClock())
    outbound, tasks = Outbound([url]), Tasks()
    source = FeedSource(revocations.settings.feed, OutboundFeed(outbound))
    follower = Follower(source, revocations, SystemClock(), random=lambda: 0.0)
    follower.start(tasks)
    try:
        yield revocations
    finally:
        await tasks.close()
        await outbound.close()
        listener.close()
        await listener.wait_closed()


def knows(revocations: Revocations, jti: str) -> bool:
    return revocations.token(digest="d", jti=jti, sub="s", kid="k", issued_at=1.0)


@pytest.mark.fault
@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{",
        b"\x00\x01\x02\r\n\r\n",
        b"",
    ],
)
async def test_a_feed_that_fails_is_asked_again_for_the_same(bad: bytes) -> None:
    server = Server(ok(page(1, "a")), bad, ok(page(2, "b")))
    async with following(server) as revocations:
        await eventually(lambda: knows(revocations, "b"))
        assert knows(revocations, "a")
        assert not revocations.stale
    assert [path.partition("after=")[2].partition("&")[0] for path in server.asked[:3]] == ["0", "1", "1"]


@pytest.mark.fault
async def test_a_feed_whose_log_was_lost_is_read_from_the_beginning() -> None:
    server = Server(ok(page(7, "a")), ok(Page(1, complete=False, entries=())), ok(page(1, "b")))
    async with following(server) as revocations:
        await eventually(lambda: knows(revocations, "b"))
        assert knows(revocations, "a")
        assert revocations.sequence == 1


@pytest.mark.fault
async def test_a_feed_that_goes_silent_makes_stale() -> None:
    server = Server(ok(page(1, "a")))
    async with following(server, max_age="1s") as revocations:
        await eventually(lambda: knows(revocations, "a"))
        assert not revocations.stale
        await eventually(lambda: revocations.stale)
        assert knows(revocations, "a")
        server.answers += [ok(page(1))] * 3
        await eventually(lambda: not revocations.stale)
