"""Finds a decision by its id: in a file of decision records, and its input where one was recorded.

Both are JSON lines. A decision record says who asked, what and why (`telemetry/record.schema.json`) but never holds the
input; a recorded input has `decision_id`, `input`, and the entrypoint as `path`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINE: Final = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class Recorded:
    """`record` and `input` are None where no file has them."""

    decision_id: str
    record: dict[str, Any] | None
    input: dict[str, Any] | None
    entrypoint: str

    @property
    def before_policy(self) -> bool:
        """Whether the request was refused before any policy was asked: the record tells everything then."""
        record = self.record or {}
        return bool(record.get("code")) and not record.get("revision")


def find(decision_id: str, files: list[Path]) -> Recorded:
    """Looks through every line of the files. Raises ConfigError. Blocks."""
    record: dict[str, Any] | None = None
    document: dict[str, Any] | None = None
    entrypoint = ""
    for file in files:
        for entry in _lines(file, decision_id.encode()):
            if entry.get("decision_id") != decision_id:
                continue
            if isinstance(entry.get("input"), dict):
                document = entry["input"]
            if "result" in entry or record is None:
                record = entry
            named = entry.get("path") or entry.get("entrypoint")
            entrypoint = str(named) if named else entrypoint
    return Recorded(decision_id, record, document, entrypoint)


def _lines(file: Path, wanted: bytes) -> list[dict[str, Any]]:
    found = []
    try:
        with file.open("rb") as stream:
            while line := stream.readline(MAX_LINE):
                if wanted in line:
                    try:
                        entry = orjson.loads(line)
                    except orjson.JSONDecodeError:
                        continue  # the last line of a file that is being written
                    if isinstance(entry, dict):
                        found.append(entry)
    except OSError as error:
        raise ConfigError(
            (ConfigProblem(str(file), 0, "", f"cannot be read: {error.strerror}", "check path and permissions"),)
        ) from None
    return found
