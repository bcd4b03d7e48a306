"""The thread that writes the chain: what waits is written in batches, one write and one signature each.

1. What could not be written is tried again, first soon, then every second; whoever waits for a record is told at once.
   The first batch afterwards begins with `chain.resumed`.
2. Records for which there was no room are counted, and the count is a record itself: `records.dropped`.
3. A checkpoint is due after so many records, or so much time with new records.
4. A full or old file is followed by the next one and packed; what is kept no longer is first recorded, then deleted.
5. While nothing can be written and nothing waits, a checkpoint is tried: so the trail gets well by itself.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from extauthz.audit.fault import AuditError
from extauthz.audit.files import ChainWriter, body
from extauthz.audit.layout import chain_files
from extauthz.audit.packing import Packer
from extauthz.audit.queue import Waiting, settle
from extauthz.audit.slot import claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from extauthz.audit.key import AuditKey
    from extauthz.audit.queue import Entry
    from extauthz.audit.settings import AuditSettings
    from extauthz.clock import Clock

log = logging.getLogger(__name__)

BATCH: Final = 256
_BATCH_BYTES: Final = 1024 * 1024
_PAUSES: Final = (0.02, 0.1, 0.25, 0.5, 1.0)
"""Seconds until a failed batch is tried again."""
_GLANCE: Final = 1.0
"""Seconds between two looks at what is due."""
_LAST_TRIES: Final = 3
"""How often a failing trail is tried when it is closed."""


class Counts:
    """Records written, and lost; whoever counts them elsewhere is told, from any thread."""

    def __init__(self, written: Callable[[int], None], dropped: Callable[[int], None]) -> None:
        self.written = 0
        self.dropped = 0
        self._written = written
        self._dropped = dropped
        self._lock = threading.Lock()

    def write(self, count: int) -> None:
        self.written += count
        self._written(count)

    def lose(self, count: int) -> None:
        with self._lock:
            self.dropped += count
        self._dropped(count)


class WriterThread:
    """`follow` gets the lines of every batch, in the thread; it must not block."""

    def __init__(
        self,
        directory: Path,
        role: str,
        key: AuditKey,
        settings: AuditSettings,
        clock: Clock,
        *,
        follow: Callable[[Sequence[bytes]], None],
        counts: Counts,
    ) -> None:
        """Claims a writer. Blocks. Raises AuditError."""
        self.waiting = Waiting(settings.buffer)
        self.counts = counts
        self.failing = False
        self._directory, self._role, self._key, self._settings, self._clock = directory, role, key, settings, clock
        self._follow = follow
        self._some = threading.Event()
        self._closing = False
        self._told_dropped = 0
        self._failures = 0
        self._failed_at = 0.0
        self._fault = ""
        self._last_checkpoint = clock.monotonic()
        self._packer = Packer()
        self._prunes = False
        self._files = self._claimed()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    @property
    def writer(self) -> str:
        return self._files.writer

    @property
    def seq(self) -> int:
        """Of the newest record that is written."""
        return self._files.seq

    def wake(self) -> None:
        """There is something to write."""
        self._some.set()

    def close(self) -> None:
        """Writes what waits, and `chain.closed`. Blocks."""
        self._closing = True
        self._some.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._write([])  # `chain.opened`: a trail that cannot be written is known before anybody needs it
            while not self._closing or len(self.waiting):
                self._some.wait(self._pause())
                self._some.clear()
                self._work()
                if self._closing and self._failures >= _LAST_TRIES:
                    break
            if not self._failures:
                self._write([], [body("chain.closed", {}, self._clock)])
        except Exception:
            log.exception("the audit trail has ended")
            self.failing = True
        finally:
            self._closing = True
            self.counts.lose(self.waiting.refuse_all())
            self._packer.close()
            self._packer.wait()  # the writer stays ours until then: nobody else packs the same file
            self._files.close()

    def _pause(self) -> float:
        if self._failures:
            return _PAUSES[min(self._failures, len(_PAUSES)) - 1]
        return 0.0 if self._closing else min(self._settings.checkpoint.interval, _GLANCE)

    def _work(self) -> None:
        written = not self._failures or len(self.waiting) > 0 or self._write([])  # 5
        while written and len(self.waiting):
            written = self._write(self.waiting.take(BATCH, _BATCH_BYTES))
        if written and self._files.since_checkpoint and self._checkpoint_waits() >= self._settings.checkpoint.interval:
            self._write([])

    def _checkpoint_waits(self) -> float:
        return self._clock.monotonic() - self._last_checkpoint

    def _write(self, entries: list[Entry], last: Sequence[bytes] = ()) -> bool:
        """One batch, with what the trail has to say itself. False: nothing was written."""
        dropped, now = self.counts.dropped, self._clock.monotonic()
        try:
            if self._files.lost:
                self._files.close()
                self._files = self._claimed()
            self._turn()
            own, signs = [], False
            if not self._files.must_open and (
                self._files.since_checkpoint >= self._settings.checkpoint.records
                or self._checkpoint_waits() >= self._settings.checkpoint.interval
            ):
                own, signs = (
                    [self._files.checkpoint()],
                    True,
                )  # 3: it signs what is before the batch, so it is the first
            if self._failures:
                facts = {"fault": self._fault, "seconds": round(now - self._failed_at, 3)}
                own.append(body("chain.resumed", facts, self._clock))
            if dropped > self._told_dropped:
                own.append(body("records.dropped", {"count": dropped - self._told_dropped}, self._clock))  # 2
            lines = self._files.write([*own, *(entry.body for entry in entries), *last])
        except (OSError, AuditError) as error:
            self._failed(error, entries)
            return False
        if signs:
            self._files.since_checkpoint, self._last_checkpoint = len(lines) - 1, now
        self._told_dropped = dropped
        self.counts.write(len(entries))
        if self._failures:
            log.warning("audit records are written again")
        self._failures, self.failing = 0, False
        settle(entries, None)
        self._follow(lines)
        self._prune()
        return True

    def _failed(self, error: Exception, entries: list[Entry]) -> None:
        """1."""
        self.failing = True
        self._fault = getattr(error, "strerror", None) or str(error)
        if not self._failures:
            self._failed_at = self._clock.monotonic()
            log.error("audit records cannot be written: %s", self._fault)
        self._failures += 1
        self.waiting.put_back(entries)

    def _claimed(self) -> ChainWriter:
        """Raises AuditError."""
        slot = claimed(self._directory, self._role, self._key)
        files = [file for file in chain_files(self._directory.glob(f"{slot.writer}-*")) if file.writer == slot.writer]
        for file in files[:-1]:
            if not file.packed:
                self._packer.pack(file.path)
        return ChainWriter(self._directory, slot, self._key, self._settings, self._clock)

    def _turn(self) -> None:
        """4."""
        if self._files.due:
            self._packer.pack(self._files.next_file())
            self._prunes = self._settings.rotate.keep > 0

    def _prune(self) -> None:
        """4: recorded before it is done; what is not done is tried with the next file."""
        if not self._prunes:
            return
        self._prunes = False
        try:
            old, why = self._files.prunable()
            if old:
                self._follow(self._files.write([why]))
            for path in old:
                path.unlink(missing_ok=True)
        except (OSError, AuditError) as error:
            log.error("old audit files cannot be deleted: %s", error)  # noqa: TRY400 - expected
