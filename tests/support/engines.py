"""Engines on small policies, and a fake OPA that answers whatever a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson

from extauthz.clock import SystemClock
from extauthz.policy.cached import CachedEngine
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.engine import Query
from extauthz.policy.loader import load
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.settings import CacheSettings, EmbeddedSettings, SidecarSettings
from extauthz.policy.sidecar import SidecarEngine
from tests.support.parts import require_embedded, require_opa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from extauthz.policy.engine import Engine

CLOCK = SystemClock()
SUPERVISED = SidecarSettings()
LIMITED = {"timeout": "2s", "max_response": "64KiB"}
CONTRACT = {
    "contract.rego": """package contract

echo := input.result

conflict := 1 if input.one

conflict := 2 if input.two

tenant := {"allow": input.subject.tenant == input.resource.tenant}

slow := {"allow": count([1 | some i in numbers.range(1, 4000); some j in numbers.range(1, 4000); i == j]) > 0}

big := {"allow": true, "obligations": {"metadata": {"text": concat("", ["x" | some _ in numbers.range(1, 100000)])}}}

table := data.tables.limits[input.role]
""",
    "other.rego": "package other\n\nallowed := true\n",
    "tables/data.json": '{"limits": {"clerk": true, "guest": false}}',
    "contract_test.rego": "package contract_test\n\ntest_never_served if false\n",
}


def write_policy(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


async def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Waits until the condition, or what it awaits, is true. For what another process does, which has no event."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)


def states(pid: int) -> set[str]:
    """The states of a process's threads in one letter each (`T` stopped, `Z` ended); empty when it is gone."""
    if Path("/proc/self").exists():
        found = []
        for task in Path(f"/proc/{pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                found.append(task.read_text().rpartition(")")[2].split()[0])
        return set(found)
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return {line[:1] for line in listed.stdout.split()}


async def stop(pid: int) -> None:
    """SIGSTOP, until every thread has stopped: it does not happen at once."""
    os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: states(pid) == {"T"})


def question(entrypoint: str, document: Any = None, *, ttl: float = 0.0, seconds: float = 10.0) -> Query:
    text = orjson.dumps({} if document is None else document, option=orjson.OPT_SORT_KEYS)
    return Query(entrypoint, text, ttl, time.monotonic() + seconds)


def cached(engine: Engine, *, epoch: Callable[[], int] = lambda: 0, **settings: Any) -> CachedEngine:
    return CachedEngine(engine, settings=CacheSettings(**settings), clock=CLOCK, epoch=epoch, cap=lambda _: math.inf)


@contextlib.asynccontextmanager
async def sidecar(policy: Path) -> AsyncIterator[tuple[SidecarEngine, OpaProcess]]:
    files = load(policy)
    with tempfile.TemporaryDirectory(prefix="opa-") as directory:  # pytest's own paths are too long for a socket
        opa = OpaProcess(require_opa(), files.bundle(), Path(directory), clock=CLOCK)
        await opa.start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(opa.stop)
            yield await stack.enter_async_context(_asking(opa, files.revision)), opa


@contextlib.asynccontextmanager
async def _asking(opa: OpaProcess, revision: str) -> AsyncIterator[SidecarEngine]:
    settings = SidecarSettings(supervise=False, address=opa.address, pool=8, **LIMITED)
    engine = SidecarEngine(opa.address, settings=settings, clock=CLOCK, revision=revision)
    try:
        yield engine
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def embedded(policy: Path, **settings: Any) -> AsyncIterator[EmbeddedEngine]:
    loaded = LoadedPolicy(require_embedded(), load(policy))
    chosen = EmbeddedSettings(**{"timeout": "2s", "max_result": "64KiB", "queue": 64, **settings})
    engine = EmbeddedEngine(loaded, settings=chosen, clock=CLOCK)
    try:
        yield engine
    finally:
        await engine.close()


class FakeOpa:
    """Answers on a Unix socket with the bytes of `script`, one entry a question; None closes the connection, and a
    callable is awaited with the writer. It is no OPA: it is what a broken or hostile one could send."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="fake-opa-")
        self.path = Path(self._directory.name, "s")
        self._open: set[asyncio.StreamWriter] = set()
        self.script: list[bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] | None] = []
        self.questions: list[bytes] = []
        self.connections = 0
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await eventually(lambda: not self._open)
        self._directory.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()
            self._open.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
        self.questions.append(head + body)
        answer = self.script.pop(0) if self.script else ok({"result": True})
        if answer is None:
            return False
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)
        await writer.drain()
        return True


def http(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, headers, len(body), body)


def ok(answer: Any) -> bytes:
    return http(orjson.dumps(answer))
