"""Hostile lines, and what a row keeps of any line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from extauthz.audit.index import AuditIndex
from extauthz.audit.index_files import LONGEST, lines
from extauthz.audit.index_row import MALFORMED, bounded, hexadecimal, key, milliseconds, row, uuid
from extauthz.audit.layout import path_of
from extauthz.audit.query import Query

if TYPE_CHECKING:
    from pathlib import Path

DECISION = "0f2a1b3c-0000-4000-8000-00000000000{}"


def record(number: int) -> bytes:
    return orjson.dumps({"event": "decision.allowed", "seq": number, "subject": {"id": f"user-{number}"}}) + b"\n"


HOSTILE = [
    b"",
    b"not json",
    b"[]",
    b"7",
    b"null",
    b"{}",
    b'{"event":7}',
    b'{"event":""}',
    b"\xff\xfe\x00\x01",
    b'{"event":"\\ud800"}',
    b'{"event":"x.y","subject":{"id":"\\u0000\\u001b[2J\\u202e"}}',
    b'{"event":"x.y","timestamp":"9999-99-99"}',
    b'{"event":"x.y","timestamp":"0001-01-01T00:00:00+14:00"}',
    b'{"event":"x.y","seq":99999999999999999999999,"subject":[1],"request":7,"exchange":[]}',
    b'{"event":"x.y","seq":-1,"workload":{"a":1},"layer":["x"],"code":null,"decision_id":5}',
    b'{"event":"x.y","decision_id":"' + b"a" * 5000 + b'"}',
    b'{"event":"x.y","subject":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"event":"' + b"e" * 5000 + b'"}',
    b'{"event":"x.y","subject":{"id":"\'; DROP TABLE record; --"}}',
    b'{"event":"' + b"x" * (LONGEST + 10) + b'"}',
    b"\r",
    b'{"event":"x.y"}{"event":"x.y"}',
]


def test_hostile_lines_lose_nothing_and_break_nothing(tmp_path: Path) -> None:
    path_of(tmp_path, "serve-0", 1).write_bytes(record(1) + b"\n".join(HOSTILE) + b"\n" + record(2))
    with AuditIndex(tmp_path) as index:
        done = index.refresh()
        assert done.records == len(HOSTILE) + 2
        hits = list(index.find(Query()))
        assert len(hits) == len(HOSTILE) + 2
        for hit, line in zip(sorted(hits, key=lambda one: one.at)[1:-1], HOSTILE, strict=True):
            found = index.read(hit)
            assert found.intact
            assert found.line == line[:LONGEST]
        assert len(list(index.find(Query(event=(MALFORMED,))))) == done.malformed
        assert [hit.seq for hit in index.find(Query(subject=("user-1",)))] == [1]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=20), st.integers(1, 50))
def test_lines_are_what_was_written_however_it_is_cut(written: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in written) + b"rest"
    cut = (data[at : at + size] for at in range(0, len(data), size))
    found = list(lines(cut, 100))
    assert [line.text for line in found] == [*written, b"rest"]
    assert [line.whole for line in found] == [True] * len(written) + [False]
    assert found[-1].offset - 100 == len(data) - 4


@given(st.binary(max_size=300))
def test_any_line_has_a_row(line: bytes) -> None:
    found = row(line, 77)
    assert found.event
    assert found.time >= 0


@given(st.dictionaries(st.sampled_from(["event", "timestamp", "seq", "decision_id", "trace_id", "subject", "workload", "tenant", "request", "layer", "code", "exchange", "digest", "kind", "value"]), st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "token", "tenant", "route"]), inner, max_size=3), max_leaves=6)))  # fmt: skip
def test_any_record_has_a_row_that_sqlite_takes(members: dict[str, Any]) -> None:
    found = row(orjson.dumps({**members, "event": "x.y"}), 5)
    for value in found:
        assert value is None or isinstance(value, str | bytes) or -(2**63) <= value < 2**63
        assert not isinstance(value, bool)


def test_keys_are_short_and_come_back() -> None:
    decision, trace, digest = DECISION.format(7), "4bf92f3577b34da6a3ce929d0e0e4736", "ff00000000000001"
    assert (uuid(key(decision)), hexadecimal(key(trace)), hexadecimal(key(digest))) == (decision, trace, digest)
    assert key("no id") == "no id"
    assert uuid(key("no id")) == "no id"
    assert key("") is None
    assert key(7) is None


def test_long_texts_are_never_mistaken_for_one_another() -> None:
    one, other = "a" * 2000 + "x", "a" * 2000 + "y"
    assert bounded(one) != bounded(other)
    assert len(bounded(one) or "") < 600


def test_times_are_milliseconds_and_what_is_none_is_the_one_before() -> None:
    assert milliseconds("1970-01-01T00:00:01.500+00:00") == 1500
    assert milliseconds("1970-01-01T01:00:00+01:00") == 0
    assert milliseconds("gestern", 9) == 9
    assert milliseconds(None, 9) == 9
    assert milliseconds("1969-12-31T23:59:59Z", 9) == 9
