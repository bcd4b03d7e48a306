"""Where copies of records go beside the files.

A sink follows the chain: it is offered what is written, and never waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from extauthz.audit.settings import HttpSink, StdoutSink
from extauthz.audit.upload import Upload, decision_logs, otlp_logs
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks
from extauthz.telemetry.output import Output

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from extauthz.audit.settings import AuditSettings, SinkSettings

_CONNECT: Final = 10.0


class Sink(Protocol):
    """One receiver of copies. `sent` and `dropped` count records."""

    sent: int
    dropped: int

    def start(self, tasks: Tasks) -> None:
        """In the loop; before it, what is offered waits."""

    def offer(self, lines: Sequence[bytes]) -> None:
        """From the writer's thread. Never blocks, never raises; what has no room is dropped and counted."""

    async def close(self) -> None:
        """What still waits is sent for a bounded time, the rest is dropped and counted."""


class StdoutCopy:
    """Lines on stdout."""

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = 0
        self._output = Output("stdout", self._add_sent, self._add_dropped)

    def start(self, tasks: Tasks) -> None:
        """It has a thread of its own."""

    def offer(self, lines: Sequence[bytes]) -> None:
        if not self._output.write(lines):
            self.dropped += len(lines)

    async def close(self) -> None:
        await self._output.close()

    def _add_sent(self, count: int) -> None:
        self.sent += count

    def _add_dropped(self, count: int) -> None:
        self.dropped += count


class Sinks:
    """All of them."""

    def __init__(self, settings: AuditSettings, *, verify: ssl.SSLContext | bool) -> None:
        urls = [sink.address for sink in settings.uploads]
        self._outbound = Outbound(urls, timeout=_CONNECT, verify=verify) if urls else None
        self._sinks = [(sink.kind, _sink(sink, self._outbound)) for sink in settings.sinks]
        self._tasks = Tasks()

    def start(self) -> None:
        for _, sink in self._sinks:
            sink.start(self._tasks)

    def offer(self, lines: Sequence[bytes]) -> None:
        for _, sink in self._sinks:
            sink.offer(lines)

    def numbers(self) -> dict[str, tuple[int, int]]:
        """By kind: records sent, and dropped."""
        found: dict[str, tuple[int, int]] = {}
        for kind, sink in self._sinks:
            sent, dropped = found.get(kind, (0, 0))
            found[kind] = (sent + sink.sent, dropped + sink.dropped)
        return found

    async def close(self) -> None:
        for _, sink in self._sinks:
            await sink.close()
        await self._tasks.close()
        if self._outbound is not None:
            await self._outbound.close()


def _sink(settings: SinkSettings, outbound: Outbound | None) -> Sink:
    if isinstance(settings, StdoutSink):
        return StdoutCopy()
    if outbound is None:
        raise TypeError("a sink that posts has an outbound client")
    return Upload(settings, outbound.send, decision_logs if isinstance(settings, HttpSink) else otlp_logs)
