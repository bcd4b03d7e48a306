"""Compresses files that will not grow any more, in a thread of its own: records do not wait for it."""

from __future__ import annotations

import gzip
import logging
import os
import threading
from queue import SimpleQueue
from shutil import copyfileobj
from typing import TYPE_CHECKING, Final

import orjson

from extauthz.audit.fault import AuditError
from extauthz.audit.layout import PACKED
from extauthz.audit.reading import LineReader

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.audit.scan import Place

log = logging.getLogger(__name__)

_LEVEL: Final = 6
_BLOCK: Final = 256 * 1024
_MODE: Final = 0o640


class Packer:
    """Files are packed one after the other, in the order that they are given."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Path | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def pack(self, path: Path) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit packing", daemon=True)
            self._thread.start()
        self._queue.put(path)

    def close(self) -> None:
        """No further files come; those that were given are still packed."""
        self._queue.put(None)

    def wait(self) -> None:
        """Until everything is packed. After `close`."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (path := self._queue.get()) is not None:
            try:
                packed(path)
            except FileNotFoundError:  # it was old enough to be deleted
                continue
            except OSError as error:  # the file stays as it is, which is as good
                log.error("audit file %s cannot be packed: %s", path.name, error.strerror)  # noqa: TRY400 - expected


def packed(path: Path) -> None:
    """`path` becomes `path.gz`. Raises OSError; `path` is whole then."""
    target = path.with_name(path.name + PACKED)
    unfinished = path.with_name(f".{target.name}-{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    with path.open("rb") as plain, os.fdopen(descriptor, "wb") as file:
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as compressed:
            copyfileobj(plain, compressed, _BLOCK)
        file.flush()
        os.fsync(file.fileno())  # the plain file goes: what takes its place is on the disk by then
    unfinished.rename(target)
    path.unlink()


def first_previous(path: Path) -> Place:
    """What a file's first record says that it follows. Raises AuditError."""
    reader = LineReader(path)
    try:
        for lines in reader:
            for line in lines:
                if b'"event":"chain.opened"' in line:
                    place = orjson.loads(line)["previous"]
                    return int(place["seq"]), str(place["chain"])
            break
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    finally:
        reader.close()
    raise AuditError(f"{path.name} does not begin with a record that opens it")
