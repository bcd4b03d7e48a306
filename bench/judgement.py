"""Asynchronous requests through real worker processes, with a SIGKILL in the middle: judged + reported = accepted.

`python -m bench.judgement` sends 100,000 requests to an asynchronous route of a real `extauthz serve` (two grpcio
workers, the embedded engine, one queue), kills workers while they come, waits until nothing is left to judge, and
compares what the client saw with the queue's ledger:

1. every request that was let through has exactly one verdict, and it is the one that its content deserves;
2. a verdict without an allow belongs to a request whose answer the kill has taken from the client;
3. no decision id comes twice, and nothing waits any more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import httpx
import yaml

from extauthz.check.messages import SERVICE, CheckRequest, CheckResponse
from extauthz.clock import SystemClock
from extauthz.demo.processes import Part, stop
from extauthz.demo.tokens import Mint, new_key
from extauthz.errors import ExtauthzError
from extauthz.judgement.opening import open_queue
from extauthz.judgement.settings import JudgementSettings
from extauthz.judgement.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from extauthz.judgement.queue import Queue

AUDIENCE: Final = "https://judgement.bench.example"
ISSUER: Final = "https://issuer.judgement.example"
EVERY: Final = 10
"""One request in so many is a violation."""
TENANTS: Final = ("acme", "globex")
"""Of the token, and of a violation's request."""
POLICY: Final = """package hints

default decision := {"allow": false, "reasons": [{"code": "attribute.tenant_mismatch"}]}

# METADATA
# entrypoint: true
decision := {"allow": true} if input.resource.properties.tenant == input.subject.properties.tenant
"""
CHANNELS: Final = 8
_START: Final = 60.0
_CALL: Final = 5.0
_LAG: Final = 0.99


@dataclass(slots=True)
class Sent:
    """What the client saw."""

    allowed: dict[str, str] = field(default_factory=dict)
    """Decision id → the request's own id."""
    unanswered: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """The request's own id → code."""
    seconds: float = 0.0
    killed: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """The comparison. `problems` is empty when the promise was kept."""

    sent: Sent
    verdicts: list[Verdict]
    waiting: int
    drained: float
    """Seconds from the last answer until nothing was left to judge."""
    problems: list[str]

    def line(self) -> str:
        counts = {name: sum(verdict.outcome == name for verdict in self.verdicts) for name in ("allowed", "denied")}
        reported = sum(verdict.outcome == "reported" for verdict in self.verdicts)
        known = sum(verdict.decision_id in self.sent.allowed for verdict in self.verdicts)
        lags = sorted(verdict.lag for verdict in self.verdicts) or [0.0]
        total = self.sent.seconds + self.drained
        return (
            f"accepted {len(self.sent.allowed)}, judged or reported of them {known} "
            f"({len(self.sent.killed)} workers killed); "
            f"judged although the kill took the answer: {len(self.verdicts) - known}; still waiting {self.waiting}\n"
            f"  verdicts: {counts['allowed']} allowed, {counts['denied']} violations, {reported} reported\n"
            f"  {len(self.sent.allowed) / max(self.sent.seconds, 0.001):.0f} accepted/s, "
            f"{len(self.verdicts) / max(total, 0.001):.0f} judged/s, done {self.drained:.1f} s after the last answer; "
            f"lag p50 {lags[len(lags) // 2]:.2f} s, p99 {lags[int(len(lags) * _LAG)]:.2f} s, most {lags[-1]:.2f} s"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(queue: dict[str, Any], requests: int, workers: int) -> dict[str, Any]:
    return {
        "version": 1,
        "server": {
            "listen": f"127.0.0.1:{free_port()}",
            "http": f"127.0.0.1:{free_port()}",
            "transport": "grpcio",
            "workers": workers,
            "max_deadline": "5s",
            "drain": "100ms",
        },
        "issuers": [
            {
                "name": "main",
                "issuer": ISSUER,
                "algorithms": ["ES256"],
                "jwks": {"file": "jwks.json"},
                "max_lifetime": "2h",
            }
        ],
        "attributes": {
            "sources": [{"kind": "request", "name": "asked", "fields": {"tenant": {"from": "path:tenant"}}}]
        },
        "policy": {"engine": "embedded", "path": "policy"},
        "telemetry": {"records": {"output": "none"}, "log_level": "warning"},
        "judgement": {
            "queue": queue,
            "max_waiting": requests + 1000,
            "lease": "2s",
            "timeout": "1s",
            "batch": 128,
            "concurrency": 16,
            "keep": "1h",
        },
        "routes": [
            {
                "name": "hint",
                "match": {"path": "/hint/{tenant}"},
                "public": True,
                "token": {"issuers": ["main"], "audiences": [AUDIENCE]},
                "evaluation": "async",
                "judgement": {"when_full": "refuse"},
                "action": "hint.read",
                "resource": {"type": "hint", "id": "{tenant}"},
                "attributes": [{"source": "asked", "to": {"resource.properties.tenant": "tenant"}}],
                "policy": "hints/decision",
                "cache_ttl": "0s",
            }
        ],
    }


class Server:
    """A running `extauthz serve` on the configuration above, and its queue as a third process sees it."""

    def __init__(self, folder: Path, config: dict[str, Any], mint: Mint, queue: Queue) -> None:
        self.folder = folder
        self.config = config
        self.queue = queue
        self.token = mint.sign({"sub": "alice", "aud": AUDIENCE, "tenant": TENANTS[0]}, lifetime=7000)
        self.part = Part(
            "extauthz serve",
            [sys.executable, "-m", "extauthz", "serve", str(folder / "extauthz.yaml")],
            folder / "serve.log",
        )
        self._http = httpx.AsyncClient(trust_env=False, timeout=5.0)

    async def ready(self) -> None:
        """Raises ExtauthzError when it does not come up."""
        deadline = time.monotonic() + _START
        while not await self._answers():
            if not self.part.running:
                raise self.part.failed()
            if time.monotonic() > deadline:
                raise ExtauthzError(f"the server was not ready in time\n{self.part.last_words()}")
            await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        try:
            return (await self._http.get(f"http://{self.config['server']['http']}/readyz")).is_success
        except httpx.HTTPError:
            return False

    async def workers(self) -> list[int]:
        answer = await self._http.get(f"http://{self.config['server']['http']}/readyz?verbose")
        return [worker["pid"] for worker in answer.json()["workers"] if worker["pid"]]

    async def metrics(self) -> str:
        return (await self._http.get(f"http://{self.config['server']['http']}/metrics")).text

    async def close(self) -> None:
        await self._http.aclose()
        stop([self.part])
        await self.queue.close()


@asynccontextmanager
async def served(folder: Path, queue: dict[str, Any], *, requests: int, workers: int = 2) -> AsyncIterator[Server]:
    """`queue` as the configuration says it; a SQLite path is below `folder`."""
    mint = Mint(ISSUER, new_key(), SystemClock())
    config = settings(queue, requests, workers)
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "policy" / "hints.rego").write_text(POLICY)
    (folder / "jwks.json").write_text(httpx.Response(200, json=mint.jwks()).text)
    (folder / "extauthz.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    opened = open_queue(JudgementSettings(**config["judgement"]), SystemClock())
    server = Server(folder, config, mint, opened)
    server.part.start()
    try:
        await server.ready()
        yield server
    finally:
        await server.close()


async def send(server: Server, requests: int, *, kills: int, at_once: int = 64) -> Sent:
    """All of them, with `kills` workers killed on the way, evenly spread."""
    sent, numbers = Sent(), iter(range(requests))
    moments = {requests * (index + 1) // (kills + 1) for index in range(kills)}
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50)]
    listen = server.config["server"]["listen"]
    channels = [grpc.aio.insecure_channel(listen, options) for _ in range(CHANNELS)]
    calls = [channel.unary_unary(f"/{SERVICE}/Check") for channel in channels]

    async def lane(index: int) -> None:
        call = calls[index % CHANNELS]
        for number in numbers:
            if number in moments:
                sent.killed.append(await _kill(server))
            await _ask(call, _message(number, server.token), str(number), sent)

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index in range(at_once):
            group.create_task(lane(index))
    sent.seconds = time.monotonic() - started
    for channel in channels:
        await channel.close()
    return sent


async def _kill(server: Server) -> int:
    """A worker that runs; another one starts in its place."""
    while True:
        for pid in await server.workers():
            with contextlib.suppress(ProcessLookupError):  # one that has been killed before
                os.kill(pid, signal.SIGKILL)
                return pid
        await asyncio.sleep(0.05)


async def _ask(call: Any, message: bytes, name: str, sent: Sent) -> None:
    try:
        answer = CheckResponse.FromString(await call(message, timeout=_CALL, wait_for_ready=True))
    except grpc.aio.AioRpcError:
        sent.unanswered.add(name)
        return
    if answer.status.code == 0:
        sent.allowed[answer.dynamic_metadata["decision_id"]] = name
    else:
        sent.refused[name] = answer.status.message


def _message(number: int, token: str) -> bytes:
    message = CheckRequest()
    http = message.attributes.request.http
    http.id, http.method, http.host, http.scheme = str(number), "GET", "hints.example", "https"
    http.path = f"/hint/{TENANTS[number % EVERY == 0]}"
    http.headers["authorization"] = f"Bearer {token}"
    data: bytes = message.SerializeToString()
    return data


async def settled(server: Server, patience: float) -> tuple[list[Verdict], int, float]:
    """Verdicts once nothing waits and nothing more is told, what waits still, and how long it took."""
    started = time.monotonic()
    verdicts: list[Verdict] = []
    place, quiet = "", 0.0
    while time.monotonic() - started < patience:
        rows = await server.queue.ledger(place)
        verdicts += [Verdict.load(data) for _, data in rows]
        if rows:
            place, quiet = rows[-1][0], time.monotonic()
            continue
        waiting = (await server.queue.state()).waiting
        lease = float(server.config["judgement"]["lease"].removesuffix("s"))
        if not waiting and time.monotonic() - max(quiet, started) > lease + 1:  # what a killed worker had not told
            return verdicts, 0, max(quiet - started, 0.0)
        await asyncio.sleep(0.2)
    return verdicts, (await server.queue.state()).waiting, time.monotonic() - started


def compare(sent: Sent, verdicts: list[Verdict], waiting: int, drained: float) -> Outcome:
    problems = []
    by_id = {verdict.decision_id: verdict for verdict in verdicts}
    if len(by_id) != len(verdicts):
        problems.append(f"{len(verdicts) - len(by_id)} decision ids have more than one verdict")
    if lost := sent.allowed.keys() - by_id.keys():
        problems.append(f"{len(lost)} requests were let through and never judged")
    extra = [verdict for verdict in verdicts if verdict.decision_id not in sent.allowed]
    if strange := [verdict for verdict in extra if verdict.request_id not in sent.unanswered]:
        problems.append(f"{len(strange)} verdicts of requests that were answered otherwise")
    wrong = [v for v in verdicts if v.outcome != ("denied" if int(v.request_id) % EVERY == 0 else "allowed")]
    if wrong:
        problems.append(f"{len(wrong)} wrong verdicts, the first {wrong[0]}")
    if waiting:
        problems.append(f"{waiting} requests still wait")
    if sent.refused:
        problems.append(f"{len(sent.refused)} requests were refused: {set(sent.refused.values())}")
    return Outcome(sent, verdicts, waiting, drained, problems)


async def experiment(
    folder: Path,
    queue: dict[str, Any],
    *,
    requests: int,
    kills: int = 2,
    patience: float = 120.0,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    async with served(folder, queue, requests=requests) as server:
        say(f"{requests} requests to {len(await server.workers())} workers, {queue['kind']}")
        sent = await send(server, requests, kills=kills)
        say(f"answered in {sent.seconds:.1f} s; unanswered {len(sent.unanswered)}")
        return compare(sent, *await settled(server, patience))


async def _main(requests: int, kind: str, kills: int) -> int:
    with tempfile.TemporaryDirectory(prefix="xa-judge-") as name:
        folder = Path(name)
        if kind == "redis":
            from tests.support.redis import RedisServer  # noqa: PLC0415 - only here

            redis = RedisServer(durable=True)
            await redis.start()
            queue = {"kind": "redis", "url": redis.url, "timeout": "5s"}
        else:
            queue = {"kind": "sqlite", "path": str(folder / "judgement.sqlite"), "timeout": "5s"}
        outcome = await experiment(folder, queue, requests=requests, kills=kills, patience=900.0, say=print)
    print(outcome.line())
    for problem in outcome.problems:
        print(f"BROKEN: {problem}")
    return 1 if outcome.problems else 0


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--requests", type=int, default=100_000)
    words.add_argument("--queue", choices=("sqlite", "redis"), default="sqlite")
    words.add_argument("--kills", type=int, default=2)
    asked = words.parse_args()
    sys.exit(asyncio.run(_main(asked.requests, asked.queue, asked.kills)))


if __name__ == "__main__":
    main()
