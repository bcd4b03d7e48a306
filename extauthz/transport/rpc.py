"""What every grpcio server of ours has: its handlers by method, and gRPC health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from extauthz.transport import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from extauthz.transport.health import Health


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """`methods`: full method name → grpcio's method handler, bytes to bytes."""

    def __init__(self, methods: Mapping[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)


def health_methods(state: Health) -> dict[str, Any]:
    """`grpc.health.v1.Health` over `state`."""

    async def check(message: bytes, context: Any) -> bytes:
        answer = state.check(message)
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answer or b""

    async def watch(message: bytes, _context: Any) -> AsyncIterator[bytes]:
        while True:
            changed = state.changed
            yield state.watch(message)
            await changed.wait()

    return {
        health.CHECK: grpc.unary_unary_rpc_method_handler(check),
        health.WATCH: grpc.unary_stream_rpc_method_handler(watch),
    }
