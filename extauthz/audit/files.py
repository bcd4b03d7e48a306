"""Writes one writer's chain: a batch is there as a whole, with the head that signs it, or not at all.

1. The lines go into the file with one write.
2. The head is rewritten beside it, atomically.
3. What fails is taken back: the file is cut to where it was, and the chain is where it was.
4. Where that fails, too, nobody knows what the file holds: this writer ends (`lost`), and the next one reads it.

Everything blocks; one thread at a time.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.chain import Chain, Signed
from extauthz.audit.layout import chain_files, head_of, path_of
from extauthz.audit.packing import first_previous
from extauthz.audit.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from extauthz.audit.key import AuditKey
    from extauthz.audit.settings import AuditSettings
    from extauthz.audit.slot import Slot
    from extauthz.clock import Clock

_MODE: Final = 0o640
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_PRUNED_AT_ONCE: Final = 1000


class ChainWriter:
    """`slot` is ours until `close`."""

    def __init__(self, directory: Path, slot: Slot, key: AuditKey, settings: AuditSettings, clock: Clock) -> None:
        self.slot = slot
        self.lost = False
        """4."""
        self._directory = directory
        self._key = key
        self._rotate = settings.rotate
        self._sync = settings.sync == "batch"
        self._clock = clock
        self._chain = Chain(slot.writer, slot.seq, slot.tip)
        self._number = slot.number
        self._size = slot.size
        self._descriptor = -1
        self._opened_at = clock.monotonic()
        self.must_open = True
        """The next batch begins with `chain.opened`."""
        self._why = "started"
        self.since_checkpoint = 0

    @property
    def writer(self) -> str:
        return self.slot.writer

    @property
    def seq(self) -> int:
        """Of the newest record that is written."""
        return self._chain.seq

    @property
    def due(self) -> bool:
        """The file is full or old. Never while the end of the file still has to be named."""
        if self.must_open or self._number == 0:
            return False
        return self._size >= self._rotate.size or self._clock.monotonic() - self._opened_at >= self._rotate.age

    def next_file(self) -> Path:
        """The next batch begins another file; the one that is full now."""
        full = path_of(self._directory, self.writer, self._number)
        os.close(self._descriptor)
        self._descriptor = -1
        self._number += 1
        self._size = 0
        self.must_open, self._why = True, "rotated"
        return full

    def write(self, bodies: Sequence[bytes]) -> list[bytes]:
        """The lines that are written now. Raises OSError: none of them is."""
        seq, tip, size = self._chain.seq, self._chain.tip, self._size
        try:
            if seq == 0 and not head_of(self._directory, self.writer).exists():
                self._head()  # files without a head are a finding
            descriptor = self._file()
            lines = [self._chain.sealed(body) for body in ((self._opening(), *bodies) if self.must_open else bodies)]
            data = b"".join(lines)
            self._size += _written(descriptor, b"\n" + data if self.slot.cut else data)  # 1
            if self._sync:
                os.fdatasync(descriptor)
            self._head()  # 2
        except OSError:
            self._chain.back_to(seq, tip)  # 3
            self._take_back(size)
            raise
        if self.must_open:
            self.must_open, self._opened_at = False, self._clock.monotonic()
            self.slot.torn, self.slot.cut, self.slot.unsigned = [], False, 0
        self.since_checkpoint += len(lines)
        return lines

    def checkpoint(self) -> bytes:
        """The body of a record that signs the one before it: it has to be the first of its batch."""
        signed = Signed.by(self._key, self.writer, self._chain.seq, self._chain.tip)
        return body("chain.checkpoint", {"signed": signed.members()}, self._clock)

    def prunable(self) -> tuple[list[Path], bytes]:
        """Files beyond those that are kept, the oldest first, and the body of the record that has to be written before
        they are deleted. Nothing: two empty values. Raises OSError, AuditError."""
        if not self._rotate.keep or self.must_open:
            return [], b""
        files = [file for file in chain_files(self._directory.glob(f"{self.writer}-*")) if file.writer == self.writer]
        old = files[: -self._rotate.keep - 1][:_PRUNED_AT_ONCE]
        if not old:
            return [], b""
        seq, chain = first_previous(files[len(old)].path)
        names = [file.path.name for file in old]
        facts = {"files": names, "through": {"seq": seq, "chain": chain}}
        return [file.path for file in old], body("chain.pruned", facts, self._clock)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.slot.release()

    def _file(self) -> int:
        if self._descriptor >= 0 and not os.fstat(self._descriptor).st_nlink:
            self.lost = True  # somebody deleted it: what goes into it is nowhere
            raise FileNotFoundError(errno.ENOENT, "the audit file has been deleted")
        if self._descriptor < 0:
            self._number = self._number or 1
            self._descriptor = os.open(path_of(self._directory, self.writer, self._number), _FLAGS | os.O_APPEND, _MODE)
        return self._descriptor

    def _opening(self) -> bytes:
        """`chain.opened`: what the file, or this process's part of it, follows."""
        facts: dict[str, Any] = {
            "reason": self._why,
            "previous": {"seq": self._chain.seq, "chain": self._chain.tip.decode()},
            "file": path_of(self._directory, self.writer, self._number).name,
            "kid": self._key.kid,
            "pid": os.getpid(),
        }
        if self.slot.unsigned:
            facts["unsigned"] = self.slot.unsigned
        if self.slot.torn:
            facts["torn"] = self.slot.torn
        return body("chain.opened", facts, self._clock)

    def _head(self) -> None:
        path = head_of(self._directory, self.writer)
        unfinished = path.with_name(f".{path.name}")
        signed = Signed.by(self._key, self.writer, self._chain.seq, self._chain.tip)
        descriptor = os.open(unfinished, _FLAGS | os.O_TRUNC, _MODE)
        try:
            _written(descriptor, signed.head())
            if self._sync:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.rename(path)

    def _take_back(self, size: int) -> None:
        """3 and 4. The head is written last, so it still names a record that is there."""
        self._size = size
        if self._descriptor < 0:
            return
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            self.lost = True


def body(event: str, facts: dict[str, Any], clock: Clock) -> bytes:
    """Of a record of the chain about itself: never masked, never cut."""
    return orjson.dumps({"event": event, "timestamp": timestamp(clock.now()), **facts})[1:-1]


def _written(descriptor: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(data)
