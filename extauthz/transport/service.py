"""What a transport carries its calls to: bytes in, bytes out.

A transport knows gRPC, a `Service` knows authorization; neither knows the other. `extauthz.app` builds the real one.
"""

from __future__ import annotations

from typing import Any, Protocol


class Service(Protocol):
    """One loop owns a service; no method is called before `start` or after `stop` has returned."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def check(self, message: bytes, budget: float) -> bytes:
        """A serialized `CheckRequest` to a serialized `CheckResponse`.

        `budget`: the seconds that the caller waits for the answer. Raises nothing but `asyncio.CancelledError`, and
        `errors.CallFailed` where the contract wants a gRPC error instead of an answer (`policy.compat`).
        """

    def drain(self) -> None:
        """From now on not ready; checks are still answered."""

    async def status(self) -> dict[str, Any]:
        """`{"ready": bool, "draining": bool, ...}`, and whatever else an operator wants to see; JSON types only."""

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        """Prometheus text format 0.0.4, or OpenMetrics 1.0."""

    async def api(self, request: dict[str, Any]) -> dict[str, Any]:
        """An HTTP API request to its answer, both as `api.messages` writes them; raises only CancelledError."""

    async def reload(self) -> list[str]:
        """Problems, one a line; empty when the new configuration is active."""
