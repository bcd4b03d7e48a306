"""What has been decided about a candidate after the configuration was written: promoted, or taken back.

A choice is bound to the two revisions that it was made for. It holds as long as the configuration names exactly these;
a commit that changes either of them wins over it, so that the repository stays the truth. It is one small file, renamed
into place: a reader sees the old choice or the new one.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import orjson

from extauthz.errors import ExtauthzError

FILE: Final = "rollout.json"
MAX_BYTES: Final = 16 * 1024


class Phase(StrEnum):
    """What a candidate does."""

    OFF = "off"
    """It is asked nothing."""
    SHADOW = "shadow"
    """It is asked beside the live policy; nobody gets its answer."""
    PERCENT = "percent"
    """It answers a share of the subjects or tenants."""
    PROMOTED = "promoted"
    """It answers everybody; the policy that was live is asked beside it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`by` is `promote` or `rollback` (an operator), or `automatic`. `at`: seconds since the epoch."""

    live: str
    candidate: str
    phase: Phase
    by: Literal["promote", "rollback", "automatic"]
    why: str = ""
    at: float = 0.0


class Choices:
    """The choice in force. `place` is read and written by every worker of a server; `kept` outlives the server.

    All methods block, and none of them raises for what a file holds: a file that is not ours is no choice.
    """

    def __init__(self, place: Path, kept: str = "") -> None:
        self._place = place
        self._kept = Path(kept) if kept else None

    def read(self, live: str, candidate: str) -> Choice | None:
        """The choice that was made for these two revisions; None leaves it to the configuration."""
        for path in (self._place, self._kept):
            if path is None or (text := _bytes(path)) is None:
                continue
            choice = _parse(text)
            return choice if choice is not None and (choice.live, choice.candidate) == (live, candidate) else None
        return None

    def stamp(self) -> int:
        """Changes whenever the shared file does; 0: there is none."""
        try:
            status = self._place.stat()
        except OSError:
            return 0
        return hash((status.st_mtime_ns, status.st_ino))

    def write(self, choice: Choice | None) -> None:
        """None forgets the choice: the configuration decides again.

        Raises ExtauthzError when it could not be kept; it holds until the server stops then, unless the message says
        otherwise.
        """
        text = orjson.dumps(None if choice is None else asdict(choice))
        try:
            _replace(self._place, text)
        except OSError as error:
            raise ExtauthzError(f"the choice does not hold: {error.strerror}: {self._place.name}") from None
        if self._kept is None:
            return
        try:
            _replace(self._kept, text)
        except OSError as error:
            raise ExtauthzError(f"not kept over a restart: {error.strerror}: {self._kept}") from None


def _bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES)
    except OSError:
        return None


def _parse(text: bytes) -> Choice | None:
    try:
        found = orjson.loads(text)
        return Choice(**{**found, "phase": Phase(found["phase"])})
    except (ValueError, TypeError, KeyError):
        return None


def _replace(path: Path, text: bytes) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_bytes(text)
    temporary.replace(path)
