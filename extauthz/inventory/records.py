"""Decision records as a stream: rotated and packed files too, one line in memory at a time."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LONGEST_LINE: Final = 64 * 1024
"""Bytes; a record is shorter than 4 KiB (`telemetry.record`)."""
_PACKED: Final = b"\x1f\x8b"


def records(files: Iterable[Path]) -> Iterator[dict[str, Any] | None]:
    """Each line's record; None for a line that is none. Raises ExtauthzError when a file cannot be read."""
    return map(_record, _lines(files))


def _record(line: bytes) -> dict[str, Any] | None:
    """A decision record; None for every other line, such as a comparison of two policies."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or found.get("type") != "check":
        return None
    whole = isinstance(found.get("request"), dict) and isinstance(found.get("result"), dict)
    return found if whole else None


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    """Every line that is not too long, without its end; empty ones are left out. A longer one is one bad line."""
    for file in files:
        try:
            with file.open("rb") as raw:
                packed = raw.read(2) == _PACKED
            with gzip.open(file, "rb") if packed else file.open("rb") as stream:
                while line := stream.readline(LONGEST_LINE):
                    whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
                    while not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                        line = stream.readline(LONGEST_LINE)
                    if not whole:
                        yield b""
                    elif line.strip():
                        yield line
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ExtauthzError(f"{file} cannot be read: {reason}") from None
