"""Lines of a chain's file, packed or not, a block at a time."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from extauthz.audit.fault import AuditError
from extauthz.audit.layout import PACKED
from extauthz.audit.scan import LINE_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK: Final = 1024 * 1024


class LineReader:
    """Whole lines as lists; `rest` is what stands after the last newline so far. Raises AuditError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rest = b""
        if path.exists() and not path.is_file():
            raise AuditError(f"{path} is no file")  # a pipe would keep us waiting
        try:
            self._file = _opened(path)
        except FileNotFoundError:
            try:
                self._file = _opened(path.with_name(path.name + PACKED))  # it has been packed in the meantime
            except OSError as error:
                raise AuditError(f"{path} cannot be read: {error.strerror}") from None
        except OSError as error:
            raise AuditError(f"{path} cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[list[bytes]]:
        """Up to the end as it is now; may be asked again when the file has grown."""
        while block := self._read():
            lines = (self.rest + block).split(b"\n")
            self.rest = lines.pop()
            if len(self.rest) > LINE_MAX:
                raise AuditError(f"{self._path}: a line is longer than {LINE_MAX} bytes")
            if lines:
                yield lines

    def close(self) -> None:
        self._file.close()

    def _read(self) -> bytes:
        try:
            return self._file.read(_BLOCK)
        except (OSError, EOFError, zlib.error) as error:
            raise AuditError(f"{self._path} cannot be read: {error}") from None


def _opened(path: Path) -> BinaryIO:
    if path.name.endswith(PACKED):
        packed: Any = gzip.open(path)  # noqa: SIM115 - whoever reads closes
        return cast("BinaryIO", packed)
    return path.open("rb")
