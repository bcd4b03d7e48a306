"""The authority's audit records: one JSON line for each issuance, refusal, exchange, revocation and rotation.

No record, no credential: `write` returns once the operating system has the line, and whoever issues waits for that.
A file that cannot be written, a full disk and a pipe that nobody reads are one AuditError each, and the answer is 503.

A line has `time` (RFC 3339, UTC), `event` (`<noun>.<verb>`) and the event's own fields: identities,
digests, counts and codes, never a token, a key or evidence. The last guard is `redact`, on the finished line.
"""

from __future__ import annotations

import asyncio
import os
import select
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from extauthz.errors import ExtauthzError
from extauthz.telemetry.redact import redact_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock

STANDARD: Final = {"stdout": 1, "stderr": 2}
PATIENCE: Final = 2.0
"""Seconds that a line may wait until it is written."""
WAITING: Final = 256
"""Lines that may wait; beyond that nothing is issued."""
LINE_MAX: Final = 16 * 1024
_MODE: Final = 0o640


class AuditError(ExtauthzError):
    """The record could not be written, so what it records must not happen."""


class Audit(Protocol):
    """Where records go. Raises AuditError."""

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """`event` is one of our words, `<noun>.<verb>`; `fields` are JSON values without secrets."""

    async def close(self) -> None: ...


class LineAudit:
    """Lines appended to a file, or to stdout or stderr. A file that was moved away (log rotation) is made again."""

    def __init__(self, target: str, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._descriptor = STANDARD.get(target, -1)
        self._torn = False
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        line = _line(event, fields, self._clock.now())
        if self._waiting >= WAITING:
            raise AuditError("audit records wait to be written")
        self._waiting += 1
        try:
            written = asyncio.get_running_loop().run_in_executor(self._thread, self._append, line)
        except RuntimeError:
            self._waiting -= 1
            raise AuditError("audit is closed") from None
        written.add_done_callback(self._done)
        try:
            # Shielded: a client that goes away does not take back what is being written.
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(written)
        except (OSError, TimeoutError) as error:
            raise AuditError(f"an audit record cannot be written: {type(error).__name__}") from None

    async def close(self) -> None:
        self._thread.shutdown(wait=False)
        if self._target not in STANDARD and self._descriptor >= 0 and not self._waiting:
            os.close(self._descriptor)
            self._descriptor = -1

    def _done(self, written: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if not written.cancelled():
            written.exception()  # looked at, also when nobody waits any more

    def _append(self, line: bytes) -> None:
        """In the thread. Raises OSError; the next line then starts on a line of its own."""
        descriptor = self._opened()
        left = memoryview(b"\n" + line if self._torn else line)
        while left:
            _wait_for_room(descriptor)  # a pipe that is ready takes PIPE_BUF bytes without blocking (pipe(7))
            left = left[os.write(descriptor, left[: select.PIPE_BUF]) :]
            self._torn = bool(left)

    def _opened(self) -> int:
        if self._target in STANDARD:
            return self._descriptor
        if self._descriptor < 0 or self._moved():
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            # A named pipe that nobody reads must not hold the thread either; for a file the last flag says nothing.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._target, flags, _MODE)
        return self._descriptor

    def _moved(self) -> bool:
        try:
            there = os.stat(self._target)  # noqa: PTH116 - compared with a descriptor
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))


def _line(event: str, fields: Mapping[str, Any], now: float) -> bytes:
    time = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    try:
        line = redact_tokens(orjson.dumps({"time": time, "event": event, **fields}).decode()).encode()
    except TypeError as error:  # orjson's own error is one
        raise AuditError(f"an audit record cannot be made: {error}") from None
    if len(line) > LINE_MAX:
        raise AuditError(f"an audit record is larger than {LINE_MAX} bytes")
    return line + b"\n"


def _wait_for_room(descriptor: int) -> None:
    """A pipe or a terminal that nobody reads must not hold the thread for good."""
    ready = select.poll()
    try:
        ready.register(descriptor, select.POLLOUT)
    except OSError:  # /dev/full and the like cannot be polled
        return
    if not ready.poll(PATIENCE * 1000):
        raise TimeoutError
