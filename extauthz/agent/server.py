"""The agent's Unix socket: SDS for Envoy, the SPIFFE Workload API for everything else, gRPC health for orchestrators.

Whoever may open the socket is the workload, so the file's mode is the credential: it is created without any rights for
others and gets its mode before anybody is told that it is there. A file that a dead agent left is removed; one that
somebody listens on is not touched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from extauthz.errors import ExtauthzError
from extauthz.sds import messages as sds
from extauthz.transport.choose import free_unix
from extauthz.transport.rpc import Handlers, health_methods
from extauthz.transport.settings import unix_path
from extauthz.workload_api import messages as workload_api

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.transport.health import Health

SERVICES: Final = (sds.SERVICE, workload_api.SERVICE)
MAX_MESSAGE: Final = 1024 * 1024
"""Envoy's first request names every extension that it was built with: about 100 KiB."""
MAX_CALLS: Final = 1024
_NO_COMPRESSION: Final = 1
_PRIVATE: Final = 0o177


class AgentServer:
    def __init__(self, methods: Mapping[str, Any], state: Health, address: str, mode: int) -> None:
        self._address = address
        self._mode = mode
        self._ours = False
        self._server = grpc.aio.server(
            handlers=(Handlers({**methods, **health_methods(state)}),),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.compression_enabled_algorithms_bitset", _NO_COMPRESSION),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ),
            maximum_concurrent_rpcs=MAX_CALLS,
        )

    async def start(self) -> None:
        """Raises ExtauthzError when the socket cannot be had. Blocks for an instant."""
        path = Path(unix_path(self._address))
        free_unix(path)
        before = os.umask(_PRIVATE)
        try:
            self._server.add_insecure_port(self._address)
            path.chmod(self._mode)  # noqa: ASYNC240 - once, at start
        except (RuntimeError, OSError) as error:
            raise ExtauthzError(f"cannot listen on {self._address}: {error}") from None
        finally:
            os.umask(before)
        self._ours = True
        await self._server.start()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)
        if self._ours:  # a path that we did not get is somebody else's
            Path(unix_path(self._address)).unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the end
