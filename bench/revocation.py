"""How long a revocation takes to reach the Check servers.

`python -m bench.revocation` revokes one token after the other at random moments, and measures from the call of
`RevocationLog.revoke` to the first refusing `Revocations.token` in each of several server processes: through Redis
(needs redis-server), and through the authority's long poll (HTTP over the loopback, state in SQLite). All processes
read the same monotonic clock of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_feed import OutboundFeed
from extauthz.authn.revocation_follower import open_follower
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import SystemClock
from extauthz.errors import MissingPart
from extauthz.outbound import Outbound
from extauthz.store.opening import open_store
from extauthz.store.revocations import RevocationLog
from extauthz.store.settings import RedisStoreSettings, SqliteStoreSettings
from extauthz.tasks import Tasks
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

CLOCK = SystemClock()
LOOK = 0.0005
"""Seconds between two questions of a server that waits for the next refusal."""


@dataclass(frozen=True)
class Way:
    name: str
    log: RevocationLog
    settings: dict[str, Any]


async def serve(settings: dict[str, Any], count: int) -> None:
    """One Check server's part: follows the source, and says when it first refuses each token."""
    revocations = Revocations(RevocationSettings(**settings), CLOCK)
    outbound = Outbound(revocations.settings.outbound_urls)
    follower = open_follower(revocations, OutboundFeed(outbound), CLOCK)
    if follower is None:
        raise ValueError("the settings name no source")
    tasks = Tasks()
    await follower.first()
    follower.start(tasks)
    print(json.dumps({"ready": not revocations.stale}), flush=True)
    for number in range(count):
        while not revocations.token(  # noqa: ASYNC110 - requests come at any moment, too
            digest="d", jti=f"token-{number}", sub="s", kid="k", issued_at=1.0
        ):
            await asyncio.sleep(LOOK)
        print(json.dumps({"number": number, "at": CLOCK.monotonic()}), flush=True)
    await tasks.close()
    await follower.close()
    await outbound.close()


@contextlib.asynccontextmanager
async def through_redis() -> AsyncIterator[Way]:
    server = RedisServer(durable=True)
    await server.start()
    store = open_store(RedisStoreSettings(kind="redis", url=server.url), CLOCK)
    try:
        yield Way("redis", RevocationLog(store, CLOCK), {"redis": {"url": server.url}})
    finally:
        await store.close()
        server.close()


@contextlib.asynccontextmanager
async def through_feed() -> AsyncIterator[Way]:
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(SqliteStoreSettings(kind="sqlite", path=Path(directory, "state.db")), CLOCK)
        log = RevocationLog(store, CLOCK)

        async def revocations(request: Request) -> JSONResponse:
            asked = request.query_params
            return JSONResponse((await log.read(int(asked["after"]), float(asked["wait"]))).plain())

        app = Starlette(routes=[Route("/v1/revocations", revocations)])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1)
        server, tasks = uvicorn.Server(config), Tasks()
        running = tasks.start(server.serve(), "feed")
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Way("feed", log, {"feed": {"url": f"http://127.0.0.1:{port}/v1/revocations"}})
        finally:
            server.should_exit = True
            await running
            await tasks.close()
            await store.close()


async def measure(way: Way, servers: int, count: int) -> list[float]:
    """The delay of each revocation at each server, in seconds."""
    command = (sys.executable, "-m", "bench.revocation", "--follow", json.dumps(way.settings), "--count", str(count))
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(servers):
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            started.append(process)
        for process in started:
            if not (await answer(process))["ready"]:
                raise RuntimeError("a server did not hear its source")
        revoked: list[float] = []
        async with asyncio.TaskGroup() as group:
            seen = [group.create_task(refusals(process, count)) for process in started]
            for number in range(count):
                await asyncio.sleep(random.expovariate(1 / 0.04))
                revoked.append(CLOCK.monotonic())
                await way.log.revoke("jti", f"token-{number}", until=CLOCK.now() + 3600, reason="bench")
        return [at - revoked[number] for task in seen for number, at in enumerate(task.result())]
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def refusals(process: asyncio.subprocess.Process, count: int) -> list[float]:
    return [(await answer(process))["at"] for _ in range(count)]


async def answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    if process.stdout is None:
        raise ValueError("a pipe is expected")
    return json.loads(await process.stdout.readline())


async def run(servers: int, count: int) -> None:
    print(f"{count} revocations, {servers} server processes: revoke() to the first refusal, milliseconds")
    print("| through | samples | p50 | p90 | p99 | max |\n| --- | --- | --- | --- | --- | --- |")
    for open_way in (through_redis, through_feed):
        async with open_way() as way:
            delays = await measure(way, servers, count)
        cuts = statistics.quantiles(delays, n=100, method="inclusive")
        figures = " | ".join(f"{1000 * value:.1f}" for value in (cuts[49], cuts[89], cuts[98], max(delays)))
        print(f"| {way.name} | {len(delays)} | {figures} |", flush=True)


def main(
    *,
    servers: Annotated[int, typer.Option(min=1, help="Check servers that follow.")] = 4,
    count: Annotated[int, typer.Option(min=10, help="Revocations.")] = 400,
    follow: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    try:
        asyncio.run(serve(json.loads(follow), count) if follow else run(servers, count))
    except MissingPart as missing:
        raise SystemExit(str(missing)) from None


if __name__ == "__main__":
    typer.run(main)
