"""Where record lines go: stdout, stderr or a file, written by a thread of its own, so that a stuck reader never
stops the event loop.

Batches that wait are bounded; what does not fit, or cannot be written, is counted as lost, never waited for. A file is
opened for appending, and again whenever it was moved away (log rotation) or `reopen` was called.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from contextlib import suppress
from queue import SimpleQueue
from stat import S_ISREG
from typing import TYPE_CHECKING, Final

from extauthz.telemetry.record import LINE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger(__name__)

_BATCHES: Final = 64
"""Batches that may wait for the thread."""
_PATIENCE: Final = 1.0
"""Seconds that a full pipe is waited for before the batch is lost, and that `close` waits for the thread."""
_MODE: Final = 0o640
_STANDARD: Final = {"stdout": 1, "stderr": 2}


class Output:
    """`target`: `stdout`, `stderr`, or the path of a file. `written` and `lost` are told how many lines were, from any
    thread; of a batch that fails half-way all lines count as lost."""

    def __init__(self, target: str, written: Callable[[int], None], lost: Callable[[int], None]) -> None:
        self._target = target
        self._written = written
        self._lost = lost
        self._queue: SimpleQueue[Sequence[bytes] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._descriptor = _STANDARD.get(target, -1)
        self._reopen = False
        self._torn = False
        self._told = False
        self._closed = False

    def write(self, lines: Sequence[bytes]) -> bool:
        """Hands the lines over; False: there is no room, and they are lost. Never blocks, never raises."""
        if self._closed or self._queue.qsize() >= _BATCHES:
            return False
        if self._thread is None:  # only now: threads do not survive a fork
            self._thread = threading.Thread(target=self._run, name="decision records", daemon=True)
            self._thread.start()
        self._queue.put(lines)
        return True

    def reopen(self) -> None:
        """Before the next batch the file is opened again."""
        self._reopen = True

    async def close(self) -> None:
        """Writes what waits, for a bounded time; what is left then is lost."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread
        if thread is None:
            return
        self._queue.put(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while thread.is_alive():  # noqa: ASYNC110 - a thread sets no asyncio.Event without a loop to call
                    await asyncio.sleep(0.002)
        while not self._queue.empty():
            self._lost(len(self._queue.get() or ()))

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            try:
                self._write(lines)
            except OSError as error:
                self._torn = True  # perhaps within a line: the next batch starts a new one
                self._lost(len(lines))
                if not self._told:
                    self._told = True
                    log.error("decision records cannot be written: %s", type(error).__name__)  # noqa: TRY400 - known
            else:
                self._torn = self._told = False
                self._written(len(lines))
        if self._target not in _STANDARD and self._descriptor >= 0:
            os.close(self._descriptor)

    def _write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError when a line cannot be written."""
        descriptor = self._opened()
        whole = S_ISREG(os.fstat(descriptor).st_mode)
        if self._torn:
            lines = [b"\n", *lines]
        for chunk in [b"".join(lines)] if whole else _torn_nowhere(lines):
            left = memoryview(chunk)
            while left:
                try:
                    left = left[os.write(descriptor, left) :]
                except BlockingIOError:
                    waiting = select.poll()
                    waiting.register(descriptor, select.POLLOUT)
                    if not waiting.poll(_PATIENCE * 1000):
                        raise

    def _opened(self) -> int:
        if self._target in _STANDARD:
            return self._descriptor
        if self._descriptor < 0 or self._reopen or self._moved():
            self._reopen = False
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._target, flags, _MODE)
        return self._descriptor

    def _moved(self) -> bool:
        try:
            there = os.stat(self._target)  # noqa: PTH116 - compared with a descriptor
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))


def _torn_nowhere(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Whole lines, at most PIPE_BUF bytes at a time: workers that share a pipe then never mix within a line."""
    chunk = b""
    for line in lines:
        if len(chunk) + len(line) > LINE_MAX:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk
