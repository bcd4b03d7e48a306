"""Decision records of a running server, found by decision id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE: Final = 2.0
"""Seconds. A record is written within milliseconds of its answer."""
_POLL: Final = 0.005


class Records:
    """The records in a file that a server appends to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._known: dict[str, dict[str, Any]] = {}

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """The record, waited for; None when it does not come."""
        deadline = time.monotonic() + _PATIENCE
        while decision_id not in self._known:
            if time.monotonic() > deadline:
                return None
            if not self._read():
                time.sleep(_POLL)
        return self._known[decision_id]

    def _read(self) -> bool:
        """Takes in what was appended: whole lines only. False when there is nothing new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return False
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].splitlines():
            try:
                record = orjson.loads(line)
                self._known[record["decision_id"]] = record
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # not ours to judge: a line that a killed server left half-written
        return end > 0
