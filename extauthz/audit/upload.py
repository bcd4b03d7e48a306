"""Copies of records that are posted: to a service that takes OPA's decision logs, or to an OpenTelemetry collector.

1. Records wait in a bounded buffer; beyond it they are dropped for this receiver and counted.
2. A batch is posted until it is taken: after a failure with a pause that doubles, with full jitter. Order is kept.
3. A receiver that refuses a batch for what it is (4xx but 408 and 429) will refuse it again: it is dropped and counted.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import OutboundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from extauthz.audit.settings import HttpSink, OpenTelemetrySink
    from extauthz.outbound import Response
    from extauthz.tasks import Tasks

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_LAST_WORDS: Final = 1.0
"""Seconds that `close` gives to what still waits."""
_TOKEN_MAX: Final = 16 * 1024
_AGAIN: Final = frozenset({408, 429})
_LEVEL: Final = 5
_BATCH_BYTES: Final = 4 * 1024 * 1024
_JSON: Final = {"content-type": "application/json", "content-encoding": "gzip"}
_INFO, _WARN = (9, "INFO"), (13, "WARN")
"""OpenTelemetry's severity numbers and texts."""
_ATTRIBUTES: Final = ("writer", "seq", "decision_id", "workload", "layer", "code")


def decision_logs(lines: Sequence[bytes]) -> bytes:
    """A JSON array of events, as OPA's decision log service takes it."""
    return b"[" + b",".join(line.rstrip(b"\n") for line in lines) + b"]"


def otlp_logs(lines: Sequence[bytes]) -> bytes:
    """An ExportLogsServiceRequest in OTLP's JSON (opentelemetry.proto.collector.logs.v1)."""
    scope = {"scope": {"name": "extauthz.audit", "version": "1"}, "logRecords": [_log_record(line) for line in lines]}
    resource = {"attributes": [_attribute("service.name", "extauthz")]}
    return orjson.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def _log_record(line: bytes) -> dict[str, Any]:
    record = orjson.loads(line)
    number, text = _WARN if record.get("code") or record["event"].endswith(".refused") else _INFO
    time = datetime.fromisoformat(record["timestamp"]).timestamp()
    found = {
        "timeUnixNano": str(round(time * 1000) * 1_000_000),
        "severityNumber": number,
        "severityText": text,
        "eventName": record["event"],
        "body": {"stringValue": line.rstrip(b"\n").decode()},
        "attributes": [
            _attribute(f"extauthz.{name}", value)
            for name in _ATTRIBUTES
            if isinstance(value := record.get(name), str | int) and value != ""
        ],
    }
    if trace := record.get("trace_id"):
        found["traceId"] = trace
    return found


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


class Upload:
    """One receiver. `send` is `outbound.Outbound.send`; `encoded` makes a body of lines."""

    def __init__(
        self,
        settings: HttpSink | OpenTelemetrySink,
        send: Callable[..., Awaitable[Response]],
        encoded: Callable[[Sequence[bytes]], bytes],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.sent = 0
        self.dropped = 0
        self._settings = settings
        self._send = send
        self._encoded = encoded
        self._jitter = jitter
        self._lines: deque[bytes] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._told = False
        self._closed = False

    def start(self, tasks: Tasks) -> None:
        self._loop = asyncio.get_running_loop()
        if self._lines:
            self._some.set()
        tasks.start(self._run(), f"audit sink {self._settings.kind}")

    def offer(self, lines: Sequence[bytes]) -> None:
        room = 0 if self._closed else max(0, self._settings.buffer - len(self._lines))
        self._lines.extend(lines[:room])  # 1
        self.dropped += max(0, len(lines) - room)
        if self._loop is not None and self._lines:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._some.set)

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                while self._loop is not None and self._lines:
                    self._idle.clear()
                    self._some.set()
                    await self._idle.wait()
        self._closed = True
        self.dropped += len(self._lines)
        self._lines.clear()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._some.wait()
            self._some.clear()
            while lines := self._batch():
                if await self._posted(lines):
                    pause = _FIRST_PAUSE
                    continue
                await asyncio.sleep(pause * self._jitter())  # 2
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._idle.set()

    def _batch(self) -> list[bytes]:
        """The oldest records; they stay where they are until they are taken."""
        lines: list[bytes] = []
        size = 0
        for line in tuple(self._lines):
            if len(lines) >= self._settings.batch or size >= _BATCH_BYTES:
                break
            lines.append(line)
            size += len(line)
        return lines

    async def _posted(self, lines: list[bytes]) -> bool:
        """False: again later."""
        try:
            content = await asyncio.to_thread(lambda: gzip.compress(self._encoded(lines), _LEVEL, mtime=0))
            headers = {**_JSON, **await asyncio.to_thread(self._credential)}
            settings = self._settings
            answer = await self._send(
                "POST", settings.address, content=content, headers=headers, timeout=settings.timeout
            )
        except (OutboundError, OSError) as error:
            self._tell(str(error) if isinstance(error, OutboundError) else f"its token: {error.strerror}")
            return False
        good = 200 <= answer.status < 300  # noqa: PLR2004 - RFC 9110 section 15
        if not good:
            self._tell(f"it answered {answer.status}")
            if answer.status >= 500 or answer.status in _AGAIN or answer.status < 400:  # noqa: PLR2004 - the same
                return False
        for _ in range(min(len(lines), len(self._lines))):
            self._lines.popleft()
        if good:
            self.sent += len(lines)
            self._told = False
        else:
            self.dropped += len(lines)  # 3
        return True

    def _credential(self) -> dict[str, str]:
        """Raises OSError."""
        if self._settings.token_file is None:
            return {}
        with self._settings.token_file.open("rb") as file:
            return {"authorization": f"Bearer {file.read(_TOKEN_MAX).decode('ascii', 'replace').strip()}"}

    def _tell(self, why: str) -> None:
        """Once, until it works again."""
        if not self._told:
            self._told = True
            log.error("audit records are not sent to %s: %s", self._settings.kind, why)
