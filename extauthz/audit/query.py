"""A question to the index: which records. Every word of it narrows; without any, all of them are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from extauthz.audit.fault import AuditError
from extauthz.audit.index_row import key
from extauthz.audit.index_schema import OFFSET_BITS, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_AGO: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604_800.0}
_KEYS: Final = (("decision_id", "decision"), ("trace_id", "trace"), ("token", "token"), ("made", "made"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Words match whole; a `*` in one stands for any characters. Several values of one word: any of them."""

    event: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    decision_id: tuple[str, ...] = ()
    trace_id: tuple[str, ...] = ()
    token: tuple[str, ...] = ()
    """Digests of credentials that came."""
    made: tuple[str, ...] = ()
    """Digests of credentials that were made or issued."""
    writer: str = ""
    seq: int | None = None
    since: int | None = None
    """Milliseconds since the epoch; this one is included, that of `until` is not."""
    until: int | None = None
    text: str = ""
    """What a record's line holds, letter by letter."""
    limit: int | None = 100
    order: Literal["newest", "oldest"] = "newest"
    within: tuple[range, ...] | None = None
    """Rows (`at`) to look at: what a refresh has added."""


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    values: tuple[object, ...]


def statement(query: Query, numbers: Callable[[Sequence[str]], Sequence[int]]) -> Statement:
    """What SQLite is asked; `text` and `limit` are not part of it. `numbers` gives those of the words that match.

    A word alone is asked with `=`: its index then has the records in the order of their times.
    """
    terms: list[str] = []
    values: list[object] = []
    for name in WORDS:
        if wanted := getattr(query, name):
            found = numbers(wanted)
            terms.append(f"{name} = ?" if len(found) == 1 else f"{name} IN ({_marks(found)})")
            values += found
    for name, column in _KEYS:
        if wanted := getattr(query, name):
            terms.append(f"{column} IN ({_marks(wanted)})")
            values += map(key, wanted)
    if query.since is not None:
        terms.append("time >= ?")
        values.append(query.since)
    if query.until is not None:
        terms.append("time < ?")
        values.append(query.until)
    if query.seq is not None:
        terms.append("seq = ?")
        values.append(query.seq)
    if query.writer:
        # Not by a join: SQLite is to begin with the column that tells most.
        terms.append(f"at >> {OFFSET_BITS} IN (SELECT id FROM file WHERE writer = ?)")  # noqa: S608 - our words
        values.append(query.writer)
    if query.within is not None:
        terms.append(" OR ".join("at BETWEEN ? AND ?" for _ in query.within) or "0")
        values += [bound for one in query.within for bound in (one.start, one.stop - 1)]
    where = " AND ".join(f"({term})" for term in terms) or "1"
    order = "time DESC, at DESC" if query.order == "newest" else "time, at"
    return Statement(f"SELECT * FROM record WHERE {where} ORDER BY {order}", tuple(values))  # noqa: S608 - our words


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def moment(text: str, now: float) -> int:
    """Milliseconds since the epoch of `2026-11-23T10:00:00Z`, `2026-11-23` (UTC), or of `90m` before `now` (seconds).

    Raises AuditError.
    """
    if ago := _AGO.fullmatch(text):
        return round((now - float(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        when = datetime.fromisoformat(text)
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise AuditError(f"{text!r} is no time: 2026-11-23T10:00:00Z, 2026-11-23, or 90m for 90 minutes ago") from None
