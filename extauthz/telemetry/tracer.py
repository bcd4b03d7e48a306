"""Sends the spans of sampled Checks to an OpenTelemetry collector, off the path.

`add` decides and appends to a bounded list; a task makes the spans and sends them, one message at a time. What does
not fit, or is not taken, is dropped and counted: no Check and no record waits for a collector.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from extauthz.errors import ExtauthzError
from extauthz.telemetry import spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.tasks import Tasks
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.settings import TraceSettings
    from extauthz.telemetry.trail import Trail

log = logging.getLogger(__name__)

_HEADERS: Final = {"content-type": "application/json"}
_AT_ONCE: Final = 16
"""Checks between two turns of the event loop: some 0.4 ms."""
_MESSAGE: Final = 128
"""Checks in a message: some 400 KB, a tenth of what collectors take."""
_RANDOM_DIGITS: Final = 14
_RANGE: Final = 16**_RANDOM_DIGITS
"""The part of a trace id that is random wherever ids are made (W3C Trace Context level 2, section 3.2.2.3.1)."""


class Answer(Protocol):
    @property
    def status(self) -> int: ...


class Post(Protocol):
    """As `outbound.Outbound`; the tracer's own."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
        max_bytes: int = 0,
    ) -> Any:
        """Raises ExtauthzError."""

    async def close(self) -> None: ...


class Tracer:
    """`resource`: what is said of this server; `service.name` is ours."""

    def __init__(
        self, settings: TraceSettings, post: Post, metrics: Metrics, *, resource: Mapping[str, str], version: str
    ) -> None:
        self._settings = settings
        self._post = post
        self._metrics = metrics
        self._resource = {"service.name": "extauthz", "service.version": version, **resource}
        self._version = version
        self._below = settings.ratio * _RANGE
        self._trails: deque[Trail] = deque()
        self._some = asyncio.Event()
        self._many = asyncio.Event()

    def start(self, tasks: Tasks) -> None:
        tasks.start(self._run(), "spans")

    def add(self, trail: Trail) -> None:
        """A finished trail; never waits and never raises.

        1. The caller's word holds where it named a trace and the settings follow it.
        2. Else the trace id decides, so that every server with the same ratio keeps the same traces whole.
        """
        trace = trail.trace()
        if not (trail.parent_id and self._settings.parent == "follow"):
            trail.sampled = int(trace[-_RANDOM_DIGITS:], 16) < self._below
        if not trail.sampled:
            return
        if len(self._trails) >= self._settings.buffer:
            self._metrics.traces_dropped(1, "buffer")
            return
        self._trails.append(trail)
        self._some.set()
        if len(self._trails) >= _MESSAGE:
            self._many.set()

    async def close(self) -> None:
        """Sends what waits once more, for a bounded time. Called when nothing is added any more."""
        if self._trails:
            await self._send()
        self._metrics.traces_dropped(len(self._trails), "export")
        self._trails.clear()
        await self._post.close()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.interval):
                    await self._many.wait()
            self._some.clear()
            self._many.clear()
            while self._trails:
                await self._send()

    async def _send(self) -> None:
        """One message; a cancellation loses what is in it, which is counted."""
        made: list[bytes] = []
        taken = False
        try:
            while self._trails and len(made) < _MESSAGE:
                made.append(self._made(self._trails.popleft()))
                if len(made) % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            content = spans.message(filter(None, made), self._resource, self._version)
            timeout = self._settings.timeout
            answer = await self._post.send(
                "POST", self._settings.endpoint, content=content, headers=_HEADERS, timeout=timeout
            )
            taken = 200 <= answer.status < 300  # noqa: PLR2004 - HTTP
        except ExtauthzError as error:
            log.debug("spans were not taken: %s", error)
        finally:
            if taken:
                self._metrics.traces_sent(len(made))
            else:
                self._metrics.traces_dropped(len(made), "export")

    def _made(self, trail: Trail) -> bytes:
        try:
            return spans.spans(trail)
        except Exception:
            log.exception("the spans of a Check could not be made")  # a defect here must not stop the others
            return b""
