"""The audit trail of one process.

`add` never waits: what nobody waits for is buffered, and dropped with a count when there is no room. `write` and
`written` return once the operating system has the record (write-ahead): no record, no credential.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from extauthz.audit import key, records
from extauthz.audit.fault import AuditError
from extauthz.audit.mask import Masking
from extauthz.audit.queue import Entry
from extauthz.audit.sinks import Sinks
from extauthz.audit.writer import Counts, WriterThread

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from extauthz.audit.settings import AuditSettings
    from extauthz.clock import Clock
    from extauthz.telemetry.trail import Trail


class AuditTrail:
    """Made by `open`. Implements the hooks of a Check and `telemetry.recorder.Audit`."""

    def __init__(
        self, settings: AuditSettings, thread: WriterThread, masking: Masking, sinks: Sinks, clock: Clock
    ) -> None:
        self.settings = settings
        self._thread = thread
        self._masking = masking
        self._sinks = sinks
        self._clock = clock
        self._recorded: set[str] = set()
        """Decisions that are written before their Check is over, so that they are not recorded again."""

    @classmethod
    async def open(
        cls,
        settings: AuditSettings,
        role: str,
        clock: Clock,
        *,
        verify: ssl.SSLContext | bool = True,
        written: Callable[[int], None] = lambda _: None,
        dropped: Callable[[int], None] = lambda _: None,
    ) -> Self:
        """`role`: what the process is (serve, authority, supervisor). `verify`: as `outbound.Outbound`.

        `written` and `dropped` are told numbers of records, from any thread. Raises AuditError when records cannot be
        kept.
        """
        if settings.directory is None or settings.key_file is None:
            raise AuditError("there is no audit directory")
        directory, key_file = settings.directory, settings.key_file

        def begun() -> tuple[WriterThread, key.AuditKey]:
            try:
                directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError as error:
                raise AuditError(f"the audit directory {directory} cannot be used: {error.strerror}") from None
            opened = key.opened(key_file)
            return WriterThread(directory, role, opened, settings, clock, follow=sinks.offer, counts=counts), opened

        sinks = Sinks(settings, verify=verify)
        counts = Counts(written, dropped)
        try:
            thread, opened = await asyncio.to_thread(begun)
        except BaseException:
            await sinks.close()
            raise
        sinks.start()
        return cls(settings, thread, Masking(settings.mask, settings.drop, opened.mask_key), sinks, clock)

    @property
    def writer(self) -> str:
        return self._thread.writer

    @property
    def waiting(self) -> int:
        """Records that wait to be written."""
        return len(self._thread.waiting)

    @property
    def healthy(self) -> bool:
        """False while records cannot be written, or too many wait."""
        thread = self._thread
        return not thread.failing and not thread.waiting.full and thread.alive

    def add(self, trail: Trail) -> None:
        """A finished Check, unless `written` has recorded it. Never waits, never raises."""
        if self._recorded and trail.decision_id in self._recorded:
            self._recorded.discard(trail.decision_id)
            return
        try:
            body = records.decision(trail, self._masking)
            if event := records.exception(trail):
                self.note(event, records.exception_facts(trail))
        except Exception:  # noqa: BLE001 - a defect here must not reach the Check; the count is recorded and watched
            self._thread.counts.lose(1)
            return
        self._buffer(body)

    def note(self, event: str, fields: Mapping[str, Any]) -> None:
        """An event that nobody waits for. Never waits; raises AuditError for what is no record."""
        self._buffer(records.event(event, fields, self._clock.now(), self._masking))

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Returns when the operating system has the record. Raises AuditError."""
        body = records.event(event, fields, self._clock.now(), self._masking)
        await self._wait(body, self.settings.patience)

    async def written(self, trail: Trail, deadline: float) -> bool:
        """As `check.hooks.AuditTrail.written`."""
        left = min(deadline - self._clock.monotonic(), self.settings.patience)
        try:
            await self._wait(records.decision(trail, self._masking), left)
        except AuditError:
            return False
        self._recorded.add(trail.decision_id)
        if event := records.exception(trail):
            self.note(event, records.exception_facts(trail))
        return True

    def numbers(self) -> dict[str, Any]:
        """For metrics: records written, dropped and waiting, and by sink those sent and dropped."""
        thread = self._thread
        return {
            "written": thread.counts.written,
            "dropped": thread.counts.dropped,
            "waiting": len(thread.waiting),
            "healthy": self.healthy,
            "sinks": self._sinks.numbers(),
        }

    def sinks_dropped(self) -> dict[tuple[str, ...], float]:
        """By kind of sink: records that it has not got."""
        return {(kind,): dropped for kind, (_, dropped) in self._sinks.numbers().items()}

    async def close(self) -> None:
        """Writes what waits, and ends the chain; later records are refused or dropped."""
        await asyncio.to_thread(self._thread.close)
        await self._sinks.close()

    def _buffer(self, body: bytes) -> None:
        thread = self._thread
        first = not len(thread.waiting)
        if not thread.alive or not thread.waiting.add(Entry(body)):
            thread.counts.lose(1)
        elif first:
            thread.wake()

    async def _wait(self, body: bytes, seconds: float) -> None:
        thread = self._thread
        if not thread.alive:
            raise AuditError("the audit trail is closed")
        if seconds <= 0:
            raise AuditError("no time is left for an audit record")
        entry = Entry(body, waited=True)
        if entry.future is None or not thread.waiting.add(entry):
            raise AuditError("audit records wait to be written")
        thread.wake()
        try:
            # Shielded: a client that goes away does not take back what is being written.
            async with asyncio.timeout(seconds):
                await asyncio.shield(entry.future)
        except TimeoutError:
            entry.withdrawn = True  # what it records does not happen now
            raise AuditError("an audit record is not written in time") from None
