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
"""Seconds that a full pipe is waited for before the batch is lost, and that `close` waits for what is to be written."""
_GLANCE: Final = 0.05
"""Seconds between two looks at whether `close` gave up."""
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
        self._writing = 0
        self._closed = False
        self._abandoned = False

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
        if not await _ended(thread):
            self._abandoned = True
            await _ended(thread)
            self._lost(self._writing)
        while not self._queue.empty():
            self._lost(len(self._queue.get() or ()))

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            self._writing = len(lines)
            try:
                self._write(lines)
            except OSError as error:
                self._torn = True  # perhaps within a line: the next batch starts a new one
                self._failed(error)
            else:
                self._torn = self._told = False
                self._written(self._writing)
            if self._abandoned:
                return
            self._writing = 0
        if self._target not in _STANDARD and self._descriptor >= 0:
            os.close(self._descriptor)

    def _failed(self, error: OSError) -> None:
        if self._abandoned:
            return  # `close` counts
        self._lost(self._writing)
        if not self._told:
            self._told = True
            log.error("decision records cannot be written: %s", type(error).__name__)

    def _write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError when a line cannot be written."""
        descriptor = self._opened()
        if self._torn:
            lines = [b"\n", *lines]
        if S_ISREG(os.fstat(descriptor).st_mode):
            left = memoryview(b"".join(lines))
            while left:
                left = left[os.write(descriptor, left) :]
            return
        for chunk in _torn_nowhere(lines):
            left = memoryview(chunk)
            while left:
                self._wait(descriptor)  # a pipe that is ready takes PIPE_BUF bytes without blocking (pipe(7))
                left = left[os.write(descriptor, left) :]

    def _wait(self, descriptor: int) -> None:
        ready = select.poll()
        ready.register(descriptor, select.POLLOUT)
        for _ in range(max(1, int(_PATIENCE / _GLANCE))):
            if ready.poll(_GLANCE * 1000):
                return
            if self._abandoned:
                break
        raise TimeoutError

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


async def _ended(thread: threading.Thread) -> bool:
    for _ in range(int(_PATIENCE / 0.002)):
        if not thread.is_alive():
            return True
        await asyncio.sleep(0.002)  # a thread cannot be awaited
    return not thread.is_alive()


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
