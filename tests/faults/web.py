"""Servers of the runner's own process: small HTTP services that can be spoilt, and a proxy that delays, cuts or redirects.

None of them takes part in a decision that the product makes: they are what the product asks (issuer, attribute source,
upstream), or stand between it and a real part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
_CHUNK: Final = 65536


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """`raw` is sent in place of a well-formed answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def wire(self) -> bytes:
        if self.raw is not None:
            return self.raw
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in {"content-type": "application/json", **self.headers}.items()]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Service:
    """HTTP/1.1 on a TCP port of the loopback, which stays its own over `down` and `up`, or on a Unix socket."""

    def __init__(self, answer: Callable[[Asked], Said], socket: Path | None = None) -> None:
        self.answer = answer
        self.socket = socket
        self.delay = 0.0
        """Seconds before each answer."""
        self.calls = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def up(self) -> None:
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self.socket, limit=1024 * 1024)
            return
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, limit=1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Nobody listens, and open connections are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (asked := await _read(reader)) is not None:
                self.calls += 1
                if self.delay:
                    await asyncio.sleep(self.delay)
                said = self.answer(asked)
                writer.write(said.wire())
                await writer.drain()
                if said.raw is not None:
                    return
        except (OSError, asyncio.IncompleteReadError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Asked(method, path, headers, await _chunked(reader))
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip().split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


class Proxy:
    """A Unix socket in front of another one. `delay`: seconds that each answer is held back. `cut`: connections are
    taken and nothing is passed on, as in a network that drops packets. `target` may be changed: `sever` then makes
    everybody connect again."""

    def __init__(self, listen: Path, target: Path) -> None:
        self.listen = listen
        self.target = target
        self.delay = 0.0
        self._free = asyncio.Event()
        self._free.set()
        self._tasks = Tasks()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def up(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.listen)

    def cut(self) -> None:
        self._free.clear()

    def join(self) -> None:
        """Ends a cut; what was held back is gone with its connection."""
        self.sever()
        self._free.set()

    def sever(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.sever()
        await self._tasks.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            ways = [
                self._tasks.start(self._pass(reader, back, delayed=False), "there"),
                self._tasks.start(self._pass(there, writer, delayed=True), "back"),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, back):
            self._open.discard(end)
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if delayed and self.delay:
                    await asyncio.sleep(self.delay)
                await self._free.wait()
                writer.write(chunk)
                await writer.drain()
