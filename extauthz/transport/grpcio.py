"""The grpcio transport: plain Python, where Envoy cannot host us.

Handlers carry bytes; grpcio cancels a handler whose caller has gone. Compressed messages are refused by offering
identity alone, so a small message can never unpack into a large one.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from extauthz.errors import CallFailed, ExtauthzError
from extauthz.transport.frames import Refused
from extauthz.transport.reflection import METHODS as REFLECTION
from extauthz.transport.rpc import Handlers, health_methods
from extauthz.transport.settings import unix_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.transport.health import Health
    from extauthz.transport.reflection import Reflection
    from extauthz.transport.service import Service
    from extauthz.transport.spec import WorkerSpec

log = logging.getLogger(__name__)

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_SOCKET_MODE: Final = 0o660
_IDENTITY: Final = 1
"""The bit set of compressions with nothing but identity in it."""


class GrpcioServer:
    """Serves `service` with health and reflection on the address of `spec`."""

    def __init__(self, service: Service, state: Health, reflection: Reflection, spec: WorkerSpec) -> None:
        self._service = service
        self._health = state
        self._reflection = reflection
        self._spec = spec
        self._active = 0
        self._server = grpc.aio.server(
            handlers=(Handlers(self._methods()),),
            options=(
                ("grpc.so_reuseport", 0 if unix_path(spec.listen) else 1),
                ("grpc.max_receive_message_length", spec.max_check),
                ("grpc.max_concurrent_streams", spec.max_concurrent),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.compression_enabled_algorithms_bitset", _IDENTITY),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
            ),
            maximum_concurrent_rpcs=spec.max_concurrent,
        )

    @property
    def active(self) -> int:
        """Checks in flight."""
        return self._active

    async def start(self) -> None:
        """Raises ExtauthzError when the address cannot be bound or the TLS files cannot be used."""
        try:
            if self._spec.certificate:
                self._server.add_secure_port(self._spec.listen, self._credentials())
            else:
                self._server.add_insecure_port(self._spec.listen)
        except (RuntimeError, ValueError, OSError) as error:
            raise ExtauthzError(f"cannot listen on {self._spec.listen}: {error}") from None
        await self._server.start()
        if path := unix_path(self._spec.listen):
            Path(path).chmod(_SOCKET_MODE)  # noqa: ASYNC240 - once, at start

    async def drain(self, grace: float) -> int:
        """No new connections; waits at most `grace` seconds for the Checks in flight. How many are left."""
        await self._server.stop(grace)
        return self._active

    async def stop(self) -> None:
        await self._server.stop(0)

    def _credentials(self) -> Any:
        """Read again at each handshake, so that a rotated certificate needs no restart."""
        spec = self._spec

        def read() -> Any:
            key, chain = Path(spec.private_key).read_bytes(), Path(spec.certificate).read_bytes()
            authorities = Path(spec.client_ca).read_bytes()
            return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)

        return grpc.dynamic_ssl_server_credentials(read(), read, require_client_authentication=True)

    def _methods(self) -> dict[str, Any]:
        return {
            CHECK: grpc.unary_unary_rpc_method_handler(self._check),
            **health_methods(self._health),
            **dict.fromkeys(REFLECTION, grpc.stream_stream_rpc_method_handler(self._reflect)),
        }

    async def _check(self, message: bytes, context: Any) -> bytes:
        remaining = context.time_remaining()
        self._active += 1
        try:
            return await self._service.check(message, math.inf if remaining is None else remaining)
        except CallFailed as failed:
            await context.abort(_STATUS[failed.status], str(failed))
            raise
        except Exception:
            log.exception("the service raised")
            await context.abort(grpc.StatusCode.INTERNAL, "no decision can be made")
            raise
        finally:
            self._active -= 1

    async def _reflect(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for answer in self._reflection.answers(messages):
                yield answer
        except Refused as refused:
            await context.abort(_STATUS[refused.status], str(refused))


_STATUS: Final = {code.value[0]: code for code in grpc.StatusCode}
