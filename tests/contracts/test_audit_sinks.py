"""One contract for every place that copies of audit records go to.

What is offered arrives whole and in order; offering never waits; what has no room is dropped and counted; a receiver
that was away gets what still waits.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from extauthz.audit.settings import HttpSink, OpenTelemetrySink
from extauthz.audit.sinks import StdoutCopy
from extauthz.audit.upload import Upload, decision_logs, otlp_logs
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks
from tests.support.audit import check, records, trail_in, verified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from extauthz.audit.sinks import Sink

LINES = [
    b'{"writer":"serve-0","seq":%d,"event":"token.issued","timestamp":"2027-01-15T08:00:00.250+00:00"}\n' % n
    for n in range(1, 41)
]


@dataclass
class Receiver:
    """An HTTP server that keeps what is posted; `statuses` are given out first, then 200."""

    url: str = ""
    posts: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: Request) -> Response:
        await self.gate.wait()
        body = gzip.decompress(await request.body())
        if self.statuses:
            return Response(status_code=self.statuses.pop(0))
        self.posts.append((request.url.path, dict(request.headers), json.loads(body)))
        return Response(status_code=200)

    def seqs(self) -> list[int]:
        found = []
        for path, _, body in self.posts:
            if path == "/v1/logs":
                logs = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
                found += [json.loads(log["body"]["stringValue"])["seq"] for log in logs]
            else:
                found += [record["seq"] for record in body]
        return found


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    made.gate.set()
    app = Starlette(routes=[Route("/{path:path}", made.take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    tasks = Tasks()
    serving = tasks.start(server.serve(), "receiver")
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.005)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        made.gate.set()
        server.should_exit = server.force_exit = True
        await serving
        await tasks.close()


@pytest.fixture
async def http() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


def upload(kind: str, url: str, **settings: Any) -> tuple[Upload, Outbound]:
    if kind == "http":
        chosen: HttpSink | OpenTelemetrySink = HttpSink(kind="http", url=url, partition="bank", **settings)
    else:
        chosen = OpenTelemetrySink(kind="opentelemetry", endpoint=url, **settings)
    outbound = Outbound([chosen.address])
    encoded = decision_logs if kind == "http" else otlp_logs
    return Upload(chosen, outbound.send, encoded, jitter=lambda: 0.1), outbound


UPLOADS = ("http", "opentelemetry")


@asynccontextmanager
async def started(sink: Sink) -> AsyncIterator[None]:
    tasks = Tasks()
    sink.start(tasks)
    try:
        yield
    finally:
        await sink.close()
        await tasks.close()


@pytest.mark.parametrize("kind", UPLOADS)
async def test_what_is_offered_arrives_in_order(kind: str, http: Receiver) -> None:
    sink, outbound = upload(kind, http.url, batch=7)
    sink.offer(LINES[:10])  # before it is started
    async with started(sink):
        await asyncio.to_thread(sink.offer, LINES[10:])  # from another thread
    assert http.seqs() == list(range(1, 41))
    assert (sink.sent, sink.dropped) == (40, 0)
    await outbound.close()


def test_what_goes_to_stdout_arrives_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    async def copy() -> StdoutCopy:
        sink = StdoutCopy()
        async with started(sink):
            sink.offer(LINES[:20])
            sink.offer(LINES[20:])
        return sink

    sink = asyncio.run(copy())
    assert [json.loads(line)["seq"] for line in capfd.readouterr().out.splitlines()] == list(range(1, 41))
    assert (sink.sent, sink.dropped) == (40, 0)


@pytest.mark.parametrize("kind", UPLOADS)
async def test_a_receiver_that_was_away_gets_what_still_waits(kind: str, http: Receiver) -> None:
    http.statuses = [503, 500, 429, 302]
    sink, outbound = upload(kind, http.url)
    async with started(sink):
        sink.offer(LINES)
    assert http.seqs() == list(range(1, 41))
    assert (sink.sent, sink.dropped) == (40, 0)
    await outbound.close()


@pytest.mark.parametrize("kind", UPLOADS)
async def test_a_batch_that_is_refused_for_what_it_is_holds_up_nothing(kind: str, http: Receiver) -> None:
    http.statuses = [400]
    sink, outbound = upload(kind, http.url, batch=10)
    async with started(sink):
        sink.offer(LINES)
    assert http.seqs() == list(range(11, 41))
    assert (sink.sent, sink.dropped) == (30, 10)
    await outbound.close()


@pytest.mark.parametrize("kind", UPLOADS)
async def test_a_receiver_that_does_not_answer_is_never_waited_for(kind: str, http: Receiver) -> None:
    http.gate.clear()
    sink, outbound = upload(kind, http.url, buffer=64, timeout="100ms")
    async with started(sink):
        for _ in range(10):
            sink.offer(LINES)  # returns, although nobody takes anything
    assert sink.sent == 0
    assert sink.dropped == 400
    await outbound.close()


async def test_the_bodies_are_those_of_the_formats(http: Receiver, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    for kind in UPLOADS:
        sink, outbound = upload(kind, http.url, token_file=tmp_path / "token")
        async with started(sink):
            sink.offer(LINES[:2])
        await outbound.close()
    (path, headers, logs), (other, _, request) = http.posts
    assert (path, headers["content-type"], headers["content-encoding"]) == ("/logs/bank", "application/json", "gzip")
    assert headers["authorization"] == "Bearer s3cret"
    assert logs == [json.loads(line) for line in LINES[:2]]
    assert other == "/v1/logs"
    first = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert first["timeUnixNano"] == "1800000000250000000"
    assert (first["eventName"], first["severityNumber"]) == ("token.issued", 9)
    assert {"key": "extauthz.seq", "value": {"intValue": "1"}} in first["attributes"]


async def test_sinks_follow_the_chain_and_never_slow_it(http: Receiver, tmp_path: Path) -> None:
    """A receiver that is stuck: the chain has everything, `add` and `write` go on, the rest is counted."""
    http.gate.clear()
    sinks = [{"kind": "http", "url": http.url, "buffer": 64, "timeout": "1s"}]
    async with trail_in(tmp_path, sinks=sinks) as trail:
        for number in range(200):
            trail.add(check(number))
        await trail.write("token.issued", {})
        assert trail.healthy
        numbers = trail.numbers()["sinks"]["http"]
        assert numbers[0] == 0
        http.gate.set()
        while not trail.numbers()["sinks"]["http"][0]:  # noqa: ASYNC110 - the receiver tells nobody
            await asyncio.sleep(0.01)
    assert verified(tmp_path).sound
    sent, dropped = trail.numbers()["sinks"]["http"]
    assert sent + dropped == len(records(tmp_path))
    assert http.seqs() == sorted(http.seqs())
