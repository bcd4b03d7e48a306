"""The process log: JSON lines on stderr, the last place where a secret is stopped.

A line has `timestamp` (RFC 3339, UTC), `level`, `logger`, `message`, and `error` (the traceback) where there is one.
Redaction works on the finished texts, so it also covers arguments and tracebacks of libraries.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from extauthz.telemetry.redact import redact

if TYPE_CHECKING:
    from typing import TextIO

_LONGEST: Final = 8192
"""Characters of a message or a traceback."""
_CHATTY: Final = ("httpx", "httpcore", "asyncio", "hpack", "h2")
"""At `info` these log every call with its URL, which may name a subject."""


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a wrong format string is worth a line, not a crash
            message = f"unreadable log message: {type(error).__name__}: {record.msg!r}"
        entry = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clean(message),
        }
        if record.exc_info:
            entry["error"] = _clean(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


def _clean(text: str) -> str:
    """Redacted before it is cut, so that no half of a secret is left; bounded first, so that this stays cheap."""
    text = redact(text[: 4 * _LONGEST])
    if len(text) > _LONGEST:
        text = text[: _LONGEST // 2] + " … " + text[-_LONGEST // 2 :]
    return text.encode("utf-8", "replace").decode()


def set_level(level: str) -> None:
    """`telemetry.log_level`, for our own loggers; others stay as they are."""
    logging.getLogger("extauthz").setLevel(level.upper())


def setup(level: str = "info", stream: TextIO | None = None) -> None:
    """Sends the log of the whole process to `stream` (stderr). May be called again, for example after a reload."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, JsonFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
