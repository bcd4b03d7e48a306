"""The Check server as an ASGI application: what Envoy hosts.

Envoy owns the sockets, HTTP/2, TLS and its floods; this speaks gRPC on top and nothing else. Laws:

1. A unary call is read whole before it is judged, and never past `max_check`.
2. At most `max_concurrent` Checks are in flight; one more is answered RESOURCE_EXHAUSTED without being read on.
3. A caller that goes away has its Check cancelled. The host does not tell, it must be asked: one sweeper asks for every
   Check in flight that is older than a sweep, so a Check that is answered at once pays nothing for it.
4. Nothing but gRPC is answered; all else is UNIMPLEMENTED.

Source: asgi.readthedocs.io HTTP spec 2.5, with the `http.response.trailers` extension.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import CallFailed
from extauthz.transport import frames, health
from extauthz.transport.frames import Refused, Status
from extauthz.transport.reflection import METHODS as REFLECTION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping

    from extauthz.transport.health import Health
    from extauthz.transport.reflection import Reflection
    from extauthz.transport.service import Service

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
SWEEP: Final = 0.05
"""Seconds between two looks for callers that have gone."""
WATCH_SWEEP: Final = 1.0
"""The same for health watches."""
MAX_STREAMS: Final = 64
"""Health watches and reflection streams together."""
MAX_SMALL: Final = 64 * 1024
"""The largest health or reflection message."""
_CONTENT_TYPE: Final = b"application/grpc"
_HEADERS: Final = [(b"content-type", _CONTENT_TYPE), (b"grpc-accept-encoding", b"identity")]
_OK: Final = frames.trailers(Status.OK)


class _Gone(Exception):
    """Not an error: the caller left."""


class GrpcApp:
    """Serves `service` with health and reflection. `sweep` must be running in the same loop."""

    def __init__(
        self,
        service: Service,
        state: Health,
        reflection: Reflection,
        *,
        max_check: int,
        max_concurrent: int,
    ) -> None:
        self._service = service
        self._health = state
        self._reflection = reflection
        self._max_check = max_check
        self._max_concurrent = max_concurrent
        self._active = 0
        self._streams = 0
        self._judged: dict[asyncio.Task[Any], Receive] = {}
        """Checks whose request is read: for these a receive can only say that the caller has gone."""
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._streams_of = {health.WATCH: self._watch, **dict.fromkeys(REFLECTION, self._reflect)}

    @property
    def active(self) -> int:
        """Checks in flight."""
        return self._active

    @property
    def streams(self) -> int:
        """Open health watches and reflection streams."""
        return self._streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            wait = _call(scope)
            if scope["path"] == CHECK:
                await self._check(receive, send, wait)
            else:
                await self._other(scope["path"], receive, send)
        except Refused as refused:
            with suppress(OSError):
                await _start(send)
                await _end(send, frames.trailers(refused.status, str(refused)))
        except (OSError, _Gone):
            return  # the caller has gone

    async def _check(self, receive: Receive, send: Send, wait: float) -> None:
        if self._active >= self._max_concurrent:  # 2
            raise Refused(Status.RESOURCE_EXHAUSTED, "too many Checks in flight")
        self._active += 1
        try:
            body = await _body(receive, self._max_check + frames.PREFIX)  # 1
            answer = await self._judge(frames.unary(body, self._max_check), wait, receive)
            await _start(send)
            await send({"type": "http.response.body", "body": frames.frame(answer), "more_body": False})
            await send({"type": "http.response.trailers", "headers": _OK, "more_trailers": False})
        finally:
            self._active -= 1

    async def _judge(self, message: bytes, wait: float, receive: Receive) -> bytes:
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # we run in one
        self._judged[task] = receive
        try:
            return await self._service.check(message, wait)
        except asyncio.CancelledError:
            if task in self._abandoned:
                raise _Gone from None
            raise
        except CallFailed as failed:
            raise Refused(Status(failed.status), str(failed)) from None
        except Exception as error:
            log.exception("the service raised")
            raise Refused(Status.INTERNAL, "no decision can be made") from error
        finally:
            del self._judged[task]
            self._abandoned.discard(task)

    async def sweep(self) -> None:
        """Law 3; runs until it is cancelled."""
        old: set[asyncio.Task[Any]] = set()
        while True:
            await asyncio.sleep(SWEEP)
            for task in old:
                receive = self._judged.get(task)
                if receive is None or (await receive())["type"] != "http.disconnect":
                    continue
                if task in self._judged:
                    self._abandoned.add(task)
                    task.cancel()
            old = set(self._judged)

    async def _other(self, path: str, receive: Receive, send: Send) -> None:
        """Health and reflection; everything else is unknown."""
        if path == health.CHECK:
            answer = self._health.check(frames.unary(await _body(receive, MAX_SMALL), MAX_SMALL))
            if answer is None:
                raise Refused(Status.NOT_FOUND, "unknown service")
            await _start(send)
            await _message(send, answer)
            await _end(send, _OK)
            return
        stream = self._streams_of.get(path)
        if stream is None:
            raise Refused(Status.UNIMPLEMENTED, "unknown method")
        if self._streams >= MAX_STREAMS:
            raise Refused(Status.RESOURCE_EXHAUSTED, "too many streams")
        self._streams += 1
        try:
            await stream(receive, send)
        finally:
            self._streams -= 1

    async def _watch(self, receive: Receive, send: Send) -> None:
        message = frames.unary(await _body(receive, MAX_SMALL), MAX_SMALL)
        await _start(send)
        while True:
            changed = self._health.changed
            await _message(send, self._health.watch(message))
            while not changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SWEEP):
                        await changed.wait()
                if (await receive())["type"] == "http.disconnect":
                    return

    async def _reflect(self, receive: Receive, send: Send) -> None:
        await _start(send)
        trailers = _OK
        try:
            async with aclosing(self._reflection.answers(_messages(receive))) as answers:
                async for answer in answers:
                    await _message(send, answer)
        except Refused as refused:
            trailers = frames.trailers(refused.status, str(refused))
        await _end(send, trailers)


def _call(scope: Scope) -> float:
    """The caller's budget in seconds. Raises Refused for what is no gRPC call."""
    wait = math.inf
    grpc = False
    for name, value in scope["headers"]:
        if name == b"grpc-timeout":
            wait = frames.budget(value)
        elif name == b"content-type":
            grpc = value == _CONTENT_TYPE or value.startswith((b"application/grpc+proto", b"application/grpc;"))
    if not grpc or scope["method"] != "POST":
        raise Refused(Status.UNIMPLEMENTED, "only gRPC is spoken here: POST application/grpc")
    return wait


async def _body(receive: Receive, limit: int) -> bytes:
    """The whole request body. Raises Refused when it is longer than `limit` bytes, `_Gone` when the caller left."""
    event = await receive()
    if event["type"] != "http.request":
        raise _Gone
    body: bytes = event.get("body", b"")
    if not event.get("more_body", False):
        if len(body) > limit:
            raise Refused(Status.RESOURCE_EXHAUSTED, f"the request is larger than {limit} bytes")
        return body
    parts = [body]
    size = len(body)
    while event.get("more_body", False):
        if size > limit:
            raise Refused(Status.RESOURCE_EXHAUSTED, f"the request is larger than {limit} bytes")
        event = await receive()
        if event["type"] != "http.request":
            raise _Gone
        parts.append(event.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts)


async def _messages(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The messages of a streamed request, as they come."""
    buffer = bytearray()
    more = True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise _Gone
        buffer += event.get("body", b"")
        more = event.get("more_body", False)
        while (message := frames.take(buffer, MAX_SMALL)) is not None:
            yield message
    if buffer:
        raise Refused(Status.INTERNAL, "the request ends inside a frame")


async def _start(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS, "trailers": True})


async def _message(send: Send, message: bytes) -> None:
    await send({"type": "http.response.body", "body": frames.frame(message), "more_body": True})


async def _end(send: Send, trailers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    await send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})
