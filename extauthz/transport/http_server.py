"""uvicorn as all of our processes use it: quiet, bounded, on a socket that is listening already."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp


class HttpServer(uvicorn.Server):
    """Signals are the command's, not uvicorn's. `connections`: at once; `more`: as `uvicorn.Config` takes it."""

    def __init__(self, app: ASGIApp, *, connections: int, **more: Any) -> None:
        usual: dict[str, Any] = {
            "ws": "none",
            "lifespan": "off",
            "log_config": None,
            "log_level": "warning",
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "limit_concurrency": connections,
            "timeout_keep_alive": 5,
            "timeout_graceful_shutdown": 1,
        }
        super().__init__(uvicorn.Config(app, **{**usual, **more}))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve_on(self, listening: socket.socket) -> None:
        await self.serve(sockets=[listening])
