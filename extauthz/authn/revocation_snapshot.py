"""What was revoked when we last heard of it, kept in a file for the next start.

The file is private (0600) and replaced as a whole. It can only add: one that is missing, broken, or writable by others
is as good as none, and then routes with effects wait for the first word of the source.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from extauthz.store.revocations import BadRevocation, Revocation, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)
MAX_BYTES: Final = 64 * 1024 * 1024
_VERSION: Final = 1
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Kept:
    """`at`: when everything up to then was known, in seconds since the epoch."""

    at: float
    entries: tuple[Revocation, ...]


def write(path: Path, at: float, entries: Iterable[Revocation]) -> None:
    """Replaces the file. Blocks. Raises OSError."""
    body = orjson.dumps({"version": _VERSION, "at": at, "entries": [entry.plain() for entry in entries]})
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path) -> Kept | None:
    """What the file holds; None where it cannot be used. Blocks."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS_WRITE:
                log.error("the revocation snapshot %s is not used: others may write it", path)
                return None
            body = file.read(MAX_BYTES + 1)
        return _kept(body)
    except FileNotFoundError:
        return None
    except (OSError, BadRevocation) as error:
        log.error("the revocation snapshot %s is not used: %s", path, error)  # noqa: TRY400 - the message says all
        return None


def _kept(body: bytes) -> Kept:
    if len(body) > MAX_BYTES:
        raise BadRevocation("it is too large")
    try:
        tree = orjson.loads(body)
    except ValueError:
        raise BadRevocation("it is not JSON") from None
    if not isinstance(tree, dict) or tree.get("version") != _VERSION or not isinstance(tree.get("entries"), list):
        raise BadRevocation("it is not of this version")
    if type(tree.get("at")) not in {int, float}:
        raise BadRevocation("it has no time")
    return Kept(float(tree["at"]), tuple(map(parse, tree["entries"])))
