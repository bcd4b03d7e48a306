"""Takes finished trails off the path: metrics and one JSON line for each.

`submit` appends to a bounded list and does nothing else; a task of the loop empties it every `interval` seconds, or
sooner when half of it is used, a few records at a time so that Checks run in between. When the list is full (the loop
is starved), the Check is still counted in the metrics and its line is dropped and counted: an operational record
never slows or stops a Check. The audit trail makes another promise and has a store of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from extauthz.telemetry import record
from extauthz.telemetry.output import Output
from extauthz.telemetry.recorded_input import recorded_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.tasks import Tasks
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.settings import RecordSettings
    from extauthz.telemetry.tickets import Tickets
    from extauthz.telemetry.tracer import Tracer
    from extauthz.telemetry.trail import Trail

log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
"""Records between two turns of the event loop: some 0.4 ms."""


class Audit(Protocol):
    """The audit trail (`audit.trail.AuditTrail`)."""

    def add(self, trail: Trail) -> None:
        """A finished Check; never waits and never raises."""


class Recorder:
    def __init__(
        self,
        settings: RecordSettings,
        metrics: Metrics,
        *,
        labels: Mapping[str, str] | None = None,
        tickets: Tickets | None = None,
        audit: Audit | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`labels` (instance, version …) are added to the configured ones. `tickets` keeps denials in memory; `tracer`
        says which Checks are sampled."""
        self._tracer = tracer
        self._tickets = tickets
        self._audit = audit
        self._metrics = metrics
        self._labels = {**(labels or {}), **settings.labels}
        self._full_path = settings.path == "full"
        self._inputs = recorded_input(settings.mask) if settings.input == "projected" else None
        self._interval = settings.interval
        self._room = settings.buffer
        self._soon = settings.buffer // 2
        self._trails: deque[Trail] = deque()
        self._lines: list[bytes] = []
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._closed = False
        self._told = False
        self._output = (
            None if settings.output == "none" else Output(settings.output, metrics.records_written, self._lost)
        )

    def start(self, tasks: Tasks) -> None:
        tasks.start(self._run(), "decision records")

    def submit(self, trail: Trail) -> None:
        """Never waits and never raises; the trail is the recorder's from now on."""
        waiting = len(self._trails)
        if waiting >= self._room or self._closed:
            self._account(trail)
            self._metrics.records_dropped(1, "buffer")
            if self._audit is not None:  # it has a bound of its own
                self._audit.add(trail)
            return
        self._trails.append(trail)
        if not waiting:
            self._some.set()
        elif waiting == self._soon:
            self._many.set()

    def add(self, comparison: dict[str, Any]) -> None:
        """The record of a difference between two policies; never waits and never raises."""
        if self._output is None:
            return
        if len(self._lines) >= self._room or self._closed:
            self._metrics.records_dropped(1, "buffer")
            return
        try:
            self._lines.append(record.comparison_line(comparison, self._labels))
        except Exception as error:  # noqa: BLE001 - a defect here must not reach the comparison
            self._metrics.records_dropped(1, "record")
            self._tell(error)
            return
        self._some.set()

    def reopen(self) -> None:
        """Open the output file again (SIGHUP after log rotation)."""
        if self._output is not None:
            self._output.reopen()

    async def close(self) -> None:
        """Writes everything that was submitted. Later records are dropped and counted."""
        self._closed = True
        self._take(len(self._trails))
        self._hand_over()
        if self._output is not None:
            await self._output.close()

    async def _run(self) -> None:
        while not self._closed:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._many.wait()
            self._some.clear()
            self._many.clear()
            left = len(self._trails)
            while left > 0:  # a cancellation here loses nothing: `close` finds trails and lines where they are
                self._take(_AT_ONCE)
                left -= _AT_ONCE
                await asyncio.sleep(0)
            self._hand_over()
            if self._trails:
                self._some.set()

    def _take(self, most: int) -> None:
        for _ in range(min(most, len(self._trails))):
            trail = self._trails.popleft()
            trail.trace()
            if self._tracer is not None:
                self._tracer.add(trail)
            self._account(trail)
            if self._audit is not None:
                self._audit.add(trail)
            if self._tickets is not None:
                self._tickets.add(trail)
            if self._output is not None and (line := self._line(trail)):
                self._lines.append(line)

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._output is not None and not self._output.write(lines):
            self._lost(len(lines))

    def _account(self, trail: Trail) -> None:
        try:
            self._metrics.account(trail)
        except Exception as error:  # noqa: BLE001 - a defect here must not reach the Check
            self._tell(error)

    def _line(self, trail: Trail) -> bytes:
        try:
            return record.line(trail, self._labels, full_path=self._full_path, inputs=self._inputs)
        except Exception as error:  # noqa: BLE001 - a defect here must not stop the other records
            self._metrics.records_dropped(1, "record")
            self._tell(error)
            return b""

    def _tell(self, error: Exception) -> None:
        """A defect of ours; the first one is enough to find it."""
        if not self._told:
            self._told = True
            log.error("a decision record could not be made", exc_info=error)

    def _lost(self, count: int) -> None:
        self._metrics.records_dropped(count, "output")
