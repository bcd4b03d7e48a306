"""Pooled HTTP/1.1 connections to one address, over a Unix socket or TCP; lean, for the hot path.

Laws: one question at a time on a connection; a connection goes back to the pool only after a whole answer to its
question; whatever else happens (fault, deadline, cancellation) closes it. A question is sent a second time only when
the connection that it went out on had been idle and closed before a byte of the answer (a question changes nothing).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from extauthz.policy.http1 import Malformed, Response, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

UNIX: Final = "unix://"
HTTP: Final = "http://"


class Disconnected(Exception):
    """The peer closed the connection, or none could be made. `early`: before any byte of the answer."""

    def __init__(self, what: str, *, early: bool) -> None:
        super().__init__(what)
        self.early = early


class Connection(asyncio.Protocol):
    """One connection; `ask` has at most one question under way."""

    __slots__ = ("_answer", "_limit", "_response", "_transport", "reused")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self.reused = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Response:
        """Raises Disconnected, Malformed or TooLarge. The caller closes the connection after anything but success."""
        if self._transport is None or self._transport.is_closing():
            raise Disconnected("closed", early=True)
        self._answer = asyncio.get_running_loop().create_future()
        self._response = None
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():  # nobody asked, or nobody waits any more
            self.close()
            return
        if self._response is None:
            self._response = Response(self._limit)
        try:
            if self._response.feed(data):
                answer.set_result(self._response)
        except (Malformed, TooLarge) as error:
            answer.set_exception(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            what = type(exc).__name__ if exc else "closed by the peer"
            self._answer.set_exception(Disconnected(what, early=self._response is None))


class Pool:
    """As many connections as there are questions at once. Nothing here knows a bound in number or time: the caller
    holds a place of its bulkhead, and bounds `ask` with `asyncio.timeout`."""

    def __init__(self, address: str, *, limit: int) -> None:
        self._address = address
        self._limit = limit
        self._idle: list[Connection] = []
        self._closed = False

    async def ask(self, request: bytes) -> Response:
        """The whole response. Raises Disconnected, Malformed or TooLarge."""
        connection = await self._take()
        try:
            return await self._ask(connection, request)
        except Disconnected as error:
            if not (connection.reused and error.early):
                raise
        return await self._ask(await self._connect(), request)

    async def _ask(self, connection: Connection, request: bytes) -> Response:
        whole = False
        try:
            response = await connection.ask(request)
            whole = response.keep_alive
        finally:
            if whole and not self._closed and connection.usable:
                connection.reused = True
                self._idle.append(connection)
            else:
                connection.close()
        return response

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._connect()

    async def _connect(self) -> Connection:
        if self._closed:
            raise Disconnected("the engine is closed", early=True)
        loop = asyncio.get_running_loop()
        factory: Callable[[], Connection] = lambda: Connection(self._limit)  # noqa: E731 - one use, two calls
        try:
            if self._address.startswith(UNIX):
                return (await loop.create_unix_connection(factory, self._address.removeprefix(UNIX)))[1]
            host, _, port = self._address.removeprefix(HTTP).rpartition(":")
            return (await loop.create_connection(factory, host.strip("[]"), int(port)))[1]
        except OSError as error:
            raise Disconnected(f"cannot connect: {error.strerror or type(error).__name__}", early=True) from None

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()
