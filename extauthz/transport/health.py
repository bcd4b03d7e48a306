"""`grpc.health.v1`: the health that Envoy and orchestrators ask for over the Check listener.

Known names are the server as a whole (empty) and the services that it serves. `Check` of an unknown name is NOT_FOUND,
`Watch` of one says SERVICE_UNKNOWN and stays open. Source: grpc/doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE: Final = "grpc.health.v1.Health"
CHECK: Final = f"/{SERVICE}/Check"
WATCH: Final = f"/{SERVICE}/Watch"
_Status = health_pb2.HealthCheckResponse.ServingStatus


class Health:
    """Whether we serve; `set` wakes every watcher."""

    def __init__(self, services: Iterable[str]) -> None:
        self._known = frozenset({"", SERVICE, *services})
        self._serving = False
        self.changed = asyncio.Event()
        """Set at the next change; each change brings a new one."""

    def set(self, *, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            self.changed.set()
            self.changed = asyncio.Event()

    def check(self, message: bytes) -> bytes | None:
        """A HealthCheckRequest to a HealthCheckResponse; None for a name that we do not serve."""
        return self.watch(message) if _name(message) in self._known else None

    def watch(self, message: bytes) -> bytes:
        """What a watcher is told now."""
        if _name(message) not in self._known:
            status = _Status.SERVICE_UNKNOWN
        else:
            status = _Status.SERVING if self._serving else _Status.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status).SerializeToString()  # type: ignore[no-any-return]  # protobuf has no types here


def _name(message: bytes) -> str | None:
    """None for what is no HealthCheckRequest: no service has that name."""
    try:
        return health_pb2.HealthCheckRequest.FromString(message).service  # type: ignore[no-any-return]  # the same
    except DecodeError:
        return None
