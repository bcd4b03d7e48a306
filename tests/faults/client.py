"""A lean HTTP/1.1 client: keeps connections, one question at a time on each, and says what happened in one value."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Final

from tests.faults.oracle import SERVED, Answer
from tests.faults.web import LOOPBACK

if TYPE_CHECKING:
    from tests.faults.oracle import Kind

PATIENCE: Final = 6.0
"""Seconds until an answer that did not come is given up."""

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def ask(self, kind: Kind) -> Answer:
        """Never raises but for cancellation. A connection that ended while it was idle is not the answer's fault."""
        sent = time.monotonic()
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._connection()
                status, headers, body = await _exchange(connection, kind)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            if connection is not None:
                connection[1].transport.abort()
            return Answer(kind, sent, time.monotonic() - sent, problem=type(error).__name__)
        if headers.get("connection", "").lower() == "close":
            connection[1].close()
        else:
            self._idle.append(connection)
        told = _told(body)
        return Answer(
            kind,
            sent,
            time.monotonic() - sent,
            status,
            str(told.get("code", "")),
            str(told.get("decision_id", "")) or headers.get("x-extauthz-decision-id", ""),
            str(told.get("mode", "")),
            SERVED in headers,
        )

    def close(self) -> None:
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(LOOPBACK, self._port)


async def _exchange(connection: _Connection, kind: Kind) -> tuple[int, dict[str, str], bytes]:
    reader, writer = connection
    headers = {"host": "faults.example", "content-length": "0", **kind.headers()}
    lines = [f"{kind.method} {kind.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(found.get("content-length", "0")))
    return int(head[0].split(" ", 2)[1]), found, body


def _told(body: bytes) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}
