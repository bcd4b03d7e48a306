"""The index: read on from where it was, never stopped by what stands in a file, never the evidence itself."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from extauthz.audit.fault import AuditError
from extauthz.audit.index import AuditIndex, Hit
from extauthz.audit.index_files import AuditFile, Member, audit_files, blocks
from extauthz.audit.index_row import MALFORMED
from extauthz.audit.layout import path_of
from extauthz.audit.query import Query

if TYPE_CHECKING:
    from pathlib import Path

DECISION = "0f2a1b3c-0000-4000-8000-{:012x}"


def record(number: int, **members: Any) -> bytes:
    told = {
        "schema": 1,
        "writer": "serve-0",
        "seq": number,
        "event": "decision.allowed",
        "timestamp": f"2026-11-23T10:00:{number % 60:02d}.{number % 1000:03d}+00:00",
        "decision_id": DECISION.format(number),
        "subject": {"type": "user", "id": f"user-{number % 7}", "token": f"{number:016x}"},
        **members,
    }
    return orjson.dumps(told) + b"\n"


def some(first: int, last: int) -> bytes:
    return b"".join(map(record, range(first, last)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "audit"
    made.mkdir()
    return made


def file(directory: Path, number: int = 1, writer: str = "serve-0") -> Path:
    return path_of(directory, writer, number)


def pack(path: Path, member: int = 0) -> None:
    data = path.read_bytes()
    size = member or len(data)
    packed = b"".join(gzip.compress(data[at : at + size]) for at in range(0, len(data), size))
    path.with_name(path.name + ".gz").write_bytes(packed)
    path.unlink()


def everything(index: AuditIndex) -> list[Hit]:
    return list(index.find(Query(order="oldest", limit=None)))


def test_only_what_is_new_is_read(directory: Path) -> None:
    file(directory).write_bytes(some(1, 11))
    with AuditIndex(directory) as index:
        assert index.refresh().records == 10
        assert index.refresh().records == 0
        with file(directory).open("ab") as opened:
            opened.write(some(11, 14))
        done = index.refresh()
        assert (done.records, done.notes, done.malformed) == (3, [], 0)
        assert [hit.seq for hit in everything(index)] == list(range(1, 14))
    with AuditIndex(directory) as index:
        assert index.refresh().records == 0


def test_a_line_that_is_being_written_is_left_for_the_next_time(directory: Path) -> None:
    whole = record(2)
    file(directory).write_bytes(record(1) + whole[:-20])
    with AuditIndex(directory) as index:
        assert index.refresh().records == 1
        file(directory).write_bytes(record(1) + whole)
        done = index.refresh()
        assert (done.records, done.malformed, done.notes) == (1, 0, [])


def test_what_a_crash_cut_off_is_a_row_once_the_file_is_finished(directory: Path) -> None:
    file(directory).write_bytes(record(1) + b'{"event":"decis')
    file(directory, 2).write_bytes(record(2))
    with AuditIndex(directory) as index:
        assert index.refresh().malformed == 1
        [hit] = index.find(Query(event=(MALFORMED,)))
        assert index.read(hit).line == b'{"event":"decis'


@pytest.mark.parametrize("member", [0, 700, 100_000])
def test_a_file_that_was_packed_stays_the_same_file(directory: Path, member: int) -> None:
    file(directory).write_bytes(some(1, 301))
    with AuditIndex(directory) as index:
        index.refresh()
        pack(file(directory), member)
        file(directory, 2).write_bytes(some(301, 305))
        done = index.refresh()
        assert (done.records, done.notes) == (4, [])
        hits = everything(index)
        assert len(hits) == 304
        for hit in hits[:300:37]:
            found = index.read(hit)
            assert found.file.endswith(".gz")
            assert found.intact
            assert found.record is not None
            assert found.record["seq"] == hit.seq


def test_a_packed_file_is_read_from_the_member_before_the_record(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(directory).write_bytes(some(1, 1001))
    pack(file(directory), 10_000)
    with AuditIndex(directory) as index:
        index.refresh()
        starts: list[Member] = []

        def watched(there: AuditFile, start: Member, **options: bool) -> Any:
            starts.append(start)
            return blocks(there, start, **options)

        monkeypatch.setattr("extauthz.audit.index_read.blocks", watched)
        [hit] = index.find(Query(seq=900))
        assert index.read(hit).record is not None
        assert starts
        assert min(start.unpacked for start in starts) > 100_000


def test_a_line_over_the_edge_of_two_members_is_read_whole(directory: Path) -> None:
    file(directory).write_bytes(some(1, 50))
    pack(file(directory), 333)
    with AuditIndex(directory) as index:
        index.refresh()
        assert all(index.read(hit).intact for hit in everything(index))


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_was_changed_is_read_again_and_said(directory: Path, packed: bool) -> None:
    file(directory).write_bytes(some(1, 20))
    with AuditIndex(directory) as index:
        index.refresh()
        changed = file(directory).read_bytes().replace(b"user-3", b"user-9", 1)
        file(directory).write_bytes(changed)
        os.utime(file(directory), ns=(1, 1))
        if packed:
            pack(file(directory))
        done = index.refresh()
        assert done.records == 19
        assert ["changed" in note for note in done.notes] == [True]
        assert len(list(index.find(Query(subject=("user-9",))))) == 1
        assert len(everything(index)) == 19


def test_a_file_that_shrank_is_read_again_and_said(directory: Path) -> None:
    file(directory).write_bytes(some(1, 20))
    with AuditIndex(directory) as index:
        index.refresh()
        file(directory).write_bytes(some(1, 5))
        done = index.refresh()
        assert (done.records, len(done.notes)) == (4, 1)
        assert [hit.seq for hit in everything(index)] == [1, 2, 3, 4]


def test_a_last_line_that_was_changed_while_the_file_grew_is_noticed(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory) as index:
        index.refresh()
        file(directory).write_bytes(some(1, 4) + record(4, tenant="x") + some(5, 9))
        done = index.refresh()
        assert (done.records, len(done.notes)) == (8, 1)


def test_a_file_that_was_only_touched_is_compared_and_not_read_again(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory) as index:
        index.refresh()
        os.utime(file(directory), ns=(5, 5))
        done = index.refresh()
        assert (done.records, done.notes) == (0, [])


def test_a_file_that_is_packed_after_the_last_look_is_still_read(directory: Path) -> None:
    file(directory).write_bytes(some(1, 300))
    with AuditIndex(directory) as index:
        index.refresh()
        pack(file(directory), 5000)
        [hit] = index.find(Query(seq=250))
        found = index.read(hit)
        assert (found.intact, found.record and found.record["seq"]) == (True, 250)


def test_a_file_that_is_packed_while_it_is_read_is_looked_for_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(directory).write_bytes(some(1, 50))
    file(directory, 2).write_bytes(some(50, 60))

    def listed(where: Path) -> list[AuditFile]:
        found = audit_files(where)
        if file(directory).exists():
            pack(file(directory))
        return found

    monkeypatch.setattr("extauthz.audit.index_refresh.audit_files", listed)
    with AuditIndex(directory) as index:
        done = index.refresh()
        assert (done.records, done.notes) == (59, [])


def test_a_file_that_is_gone_takes_its_rows_with_it(directory: Path) -> None:
    file(directory, 1).write_bytes(some(1, 5))
    file(directory, 2).write_bytes(some(5, 9))
    with AuditIndex(directory) as index:
        index.refresh()
        file(directory, 1).unlink()
        done = index.refresh()
        assert done.notes == ["serve-0-1 is gone, its records are no longer found"]
        assert [hit.seq for hit in everything(index)] == [5, 6, 7, 8]


def test_a_record_that_changed_after_it_was_indexed_is_not_intact(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory) as index:
        index.refresh()
        [hit] = index.find(Query(seq=3))
        assert index.read(hit).intact
        file(directory).write_bytes(file(directory).read_bytes().replace(b"user-3", b"user-9"))
        assert index.read(hit).intact  # what was read around it is kept until the next look
    with AuditIndex(directory) as index:
        found = index.read(hit)
        assert not found.intact
        assert found.record is not None


def test_a_damaged_index_is_made_again(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory) as index:
        index.refresh()
    (directory / "index.db").write_bytes(b"this is no database" * 1000)
    with AuditIndex(directory) as index:
        assert index.refresh().records == 4


def test_an_index_of_another_version_is_made_again(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory) as index:
        index.refresh()
    connection = sqlite3.connect(directory / "index.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with AuditIndex(directory) as index:
        assert index.refresh().records == 4


def test_an_index_that_others_may_read_is_refused(directory: Path) -> None:
    with AuditIndex(directory) as index:
        index.refresh()
    (directory / "index.db").chmod(0o644)
    with pytest.raises(AuditError, match="chmod 600"):
        AuditIndex(directory)


def test_a_directory_that_is_not_there_and_an_index_that_cannot_be_written_are_told(directory: Path) -> None:
    with pytest.raises(AuditError, match="no directory"):
        AuditIndex(directory / "nowhere")
    with pytest.raises(AuditError, match="--index"):
        AuditIndex(directory, directory / "nowhere" / "index.db")


def test_two_processes_with_one_index_read_each_record_once(directory: Path) -> None:
    file(directory).write_bytes(some(1, 50))
    with AuditIndex(directory) as first, AuditIndex(directory) as second:
        assert first.refresh().records == 49
        assert second.refresh().records == 0
        with file(directory).open("ab") as opened:
            opened.write(some(50, 60))
        assert second.refresh().records == 10
        assert first.refresh().records == 0
        assert len(everything(first)) == len(everything(second)) == 59


def test_a_file_that_cannot_be_unpacked_is_told_and_the_others_are_read(directory: Path) -> None:
    file(directory, 1).write_bytes(some(1, 200))
    pack(file(directory, 1))
    packed = file(directory, 1).with_name(file(directory, 1).name + ".gz")
    packed.write_bytes(packed.read_bytes()[:200] + b"\0" * 400)
    file(directory, 2).write_bytes(some(200, 205))
    with AuditIndex(directory) as index:
        done = index.refresh()
        assert len(done.notes) == 1
        assert "cannot be read" in done.notes[0]
        assert [hit.seq for hit in index.find(Query(order="oldest", seq=204))] == [204]


def test_other_files_of_the_directory_are_not_read(directory: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    for name in (
        "serve-0.head",
        "audit.key",
        "serve-0-1.jsonl",
        "notes.txt",
        ".serve-0-000002.jsonl.gz",
        "x-000001.json",
    ):
        (directory / name).write_bytes(some(5, 9))
    (directory / "serve-9-000001.jsonl").mkdir()
    with AuditIndex(directory) as index:
        assert index.refresh().records == 4


def test_very_many_new_records_have_their_indexes_made_afterwards(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extauthz.audit.index_refresh._MANY", 1000)
    monkeypatch.setattr("extauthz.audit.index_refresh._BATCH", 50)
    file(directory).write_bytes(some(1, 201))
    told: list[int] = []
    with AuditIndex(directory) as index:
        index.refresh(lambda _file, records: told.append(records))
        assert told[:3] == [50, 100, 150]
        for query in (Query(subject=("user-3",)), Query(decision_id=(DECISION.format(5),)), Query(since=0)):
            assert "USING INDEX" in index.plan(query)


def test_the_index_can_be_elsewhere(directory: Path, tmp_path: Path) -> None:
    file(directory).write_bytes(some(1, 5))
    with AuditIndex(directory, tmp_path / "mine.db") as index:
        assert index.refresh().records == 4
    assert sorted(path.name for path in directory.iterdir()) == ["serve-0-000001.jsonl"]
    shutil.rmtree(directory)
