"""The authority's HTTP listener: uvicorn with what it lacks for callers that prove themselves by a certificate.

1. The peer's certificate (DER, empty when none came) is `peer_certificate` in each request's state (`peer`).
2. A handshake, and a request's head, has a bound in time; a body has the endpoint's (`body`); an idle connection is
   closed. Connections, header bytes and body bytes are bounded too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from extauthz.transport.http_server import HttpServer

if TYPE_CHECKING:
    import socket
    import ssl

    from starlette.requests import Request
    from starlette.types import ASGIApp
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

HEAD_BYTES: Final = 32 * 1024
HANDSHAKE_SECONDS: Final = 5.0
HEAD_SECONDS: Final = 5.0
BODY_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 75
"""Longer than the longest poll, so that a client keeps its connection from one poll to the next."""
STRANGERS_IDLE_SECONDS: Final = 5
"""The same for who showed no certificate: whoever can connect must not hold places for long."""


class PeerProtocol(H11Protocol):
    """One connection, with the certificate that its peer showed."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class has it
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if not certificate:
            self.timeout_keep_alive = STRANGERS_IDLE_SECONDS
        self.app_state = {**self.app_state, "peer_certificate": certificate or b""}  # 1
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head_came()

    def data_received(self, data: bytes) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares that there always is one
        if self._patience is None and (cycle is None or cycle.response_complete):
            self._wait_for_head()  # the next request of a kept connection has begun
        super().data_received(data)

    def _wait_for_head(self) -> None:  # 2
        self._patience = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_came(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


class Listener(HttpServer):
    """Serves `app` on a bound socket; without `tls` in clear text (a Unix socket)."""

    def __init__(self, app: ASGIApp, *, tls: ssl.SSLContext | None = None, connections: int = 256) -> None:
        self._tls = tls
        super().__init__(
            app,
            connections=connections,
            http=PeerProtocol,
            log_level="error",  # below, every stranger who speaks no HTTP would write a line
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=IDLE_SECONDS,
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's for bound sockets, with a bound on the handshake."""

        def connection() -> asyncio.Protocol:
            return PeerProtocol(self.config, self.server_state, self.lifespan.state)

        bounds: dict[str, Any] = {}
        if self._tls is not None:
            bounds = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": HANDSHAKE_SECONDS}
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(connection, sock=one, ssl=self._tls, backlog=self.config.backlog, **bounds)
            for one in sockets or ()
        ]
        self.started = True


async def body(request: Request, most: int) -> bytes | None:
    """The whole body; None when it is larger than `most` bytes or did not come in time (2)."""
    announced = request.headers.get("content-length", "")
    if announced and (not announced.isdecimal() or len(announced) > 12 or int(announced) > most):  # noqa: PLR2004 - digits that fit an int
        return None
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > most:
                    return None
    except TimeoutError:
        return None
    return bytes(found)
