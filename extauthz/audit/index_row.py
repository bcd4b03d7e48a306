"""From a record's line to a row of the index: what can be searched by, bounded, whatever the line holds.

A line that is no record has a row as well: nothing that is in a file is hidden from who searches. Its event is
`MALFORMED`, and its time that of the record before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from extauthz.audit import index_facts as facts

MALFORMED: Final = "(malformed)"
_MOST: Final = 512
"""Characters of a text that are kept as they are."""
_DIGEST: Final = re.compile(r"[0-9a-f]{16}")
_ID: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEQ_MOST: Final = 2**62
_TIMES: Final = (0, 253_402_300_800_000)
"""Milliseconds: 1970 to the end of 9999."""

Key = str | bytes | int | None
"""A decision, a trace or a token: 16 bytes or 8 where it has the usual form."""


class Row(NamedTuple):
    """`event` … `code` are texts here and numbers of `word` in the index."""

    time: int
    """Milliseconds since the epoch."""
    seq: int | None
    decision: Key
    trace: Key
    token: Key
    """The credential that came: its digest."""
    made: Key
    """The credential that was made of it, or issued: its digest."""
    event: str
    subject: str | None
    workload: str | None
    tenant: str | None
    route: str | None
    layer: str | None
    code: str | None


def parsed(line: bytes | None) -> dict[str, Any] | None:
    """The record; None for what is none."""
    if line is None:
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None


def row(line: bytes | None, before: int) -> Row:
    """`before`: the time of the record before it in its file, for one that says no time."""
    record = parsed(line)
    if record is None:
        return Row(before, None, None, None, None, None, MALFORMED, *[None] * 6)
    who = facts.subject(record)
    seq = record.get("seq")
    return Row(
        milliseconds(record.get("timestamp"), before),
        seq if type(seq) is int and 0 <= seq < _SEQ_MOST else None,
        key(record.get("decision_id")),
        key(record.get("trace_id")),
        key(who.get("token")),
        key(facts.made(record)),
        bounded(record["event"]) or MALFORMED,
        bounded(who.get("id")),
        bounded(facts.workload(record)),
        bounded(facts.tenant(record)),
        bounded(facts.route(record)),
        bounded(record.get("layer")),
        bounded(record.get("code")),
    )


def milliseconds(text: Any, before: int = 0) -> int:
    """Of an RFC 3339 time; `before` where it is none."""
    if not isinstance(text, str):
        return before
    try:
        when = datetime.fromisoformat(text)
        found = round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return before
    return found if _TIMES[0] <= found < _TIMES[1] else before


def bounded(text: Any) -> str | None:
    """What is indexed of a text. A long one keeps its beginning and a digest, so two of them never look the same."""
    if not isinstance(text, str) or not text:
        return None
    if len(text) <= _MOST:
        return text
    return text[:_MOST] + "…" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def key(text: Any) -> Key:
    """As it is indexed: short, and the same for the same text."""
    if not isinstance(text, str) or not text:
        return None
    if _DIGEST.fullmatch(text):
        return int.from_bytes(bytes.fromhex(text), signed=True)
    if _ID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    return bounded(text)


def uuid(found: Key) -> str:
    """A decision's key as a record writes it."""
    text = hexadecimal(found)
    whole = isinstance(found, bytes) and f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return whole or text


def hexadecimal(found: Key) -> str:
    """A trace's or a token's key as a record writes it."""
    if isinstance(found, int):
        return found.to_bytes(8, signed=True).hex()
    return found.hex() if isinstance(found, bytes) else found or ""
