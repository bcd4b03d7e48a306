"""Exports: lines as they are, tables that run nothing, OCSF events; a file is there when all of it is."""

from __future__ import annotations

import csv
import io
import json
import stat
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from extauthz.audit.chain import GENESIS, Sealed
from extauthz.audit.fault import AuditError
from extauthz.cli import app
from extauthz.cli.audit.export import COLUMNS
from extauthz.demo.zones import EDGE
from tests.support.audit_hops import NOW, Bank, Server, alice, trail

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def export(*words: object) -> Result:
    return CliRunner().invoke(app, ["audit", "export", *map(str, words)])


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    made = Bank(tmp_path)
    made.signed_in()
    made.transfer()
    made.save()
    return made


def test_lines_are_those_of_the_file_so_that_their_chain_holds(bank: Bank) -> None:
    done = export("-d", bank.authority.directory)
    assert done.exit_code == 0
    assert done.stdout_bytes == b"".join(bank.authority.lines)
    previous = GENESIS
    for line in done.stdout_bytes.splitlines(keepends=True):
        sealed = Sealed.of(line)
        assert sealed is not None
        assert sealed.follows(line, previous)
        previous = sealed.chain


def test_filters_and_a_limit(bank: Bank) -> None:
    words = [word for server in bank.servers.values() for word in ("-d", server.directory)]
    lines = export(*words, "--event", "decision.*", "--workload", EDGE.id).stdout.splitlines()
    assert [json.loads(line)["request"]["route"] for line in lines] == ["edge-out", "orchestration-in"]
    assert len(export(*words, "--limit", 3).stdout.splitlines()) == 3


def test_a_table_has_the_common_columns_and_no_formula(tmp_path: Path) -> None:
    server = Server(tmp_path / "a")
    subject = alice("T0")
    object.__setattr__(subject, "id", '=HYPERLINK("https://evil.example")')
    server.decided(trail(0.0, EDGE, "edge-in", subject))
    server.told("config.changed", {"code": "+1", "workload": "a,b\r\n@c"}, NOW)
    server.save()
    text = export("-d", server.directory, "--format", "csv").stdout_bytes.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["subject.id"] == '\'=HYPERLINK("https://evil.example")'
    assert rows[0]["result.allow"] == "true"
    assert (rows[1]["code"], rows[1]["workload"]) == ("'+1", "a,b\r\n@c")


def test_ocsf_is_one_event_a_line_also_for_what_is_no_record(bank: Bank) -> None:
    server = bank.servers["edge"]
    server.lines.append(b"{half a record\n")
    server.save()
    events = [json.loads(line) for line in export("-d", server.directory, "--format", "ocsf").stdout.splitlines()]
    assert [event["class_uid"] for event in events] == [6003, 6003, 0]
    assert events[2]["raw_data"] == "{half a record"


def test_a_file_is_made_whole_and_private(bank: Bank, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    assert export("-d", bank.authority.directory, "--output", target).exit_code == 0
    assert target.read_bytes() == b"".join(bank.authority.lines)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_a_file_that_cannot_be_written_is_told(bank: Bank, tmp_path: Path) -> None:
    done = export("-d", bank.authority.directory, "--output", tmp_path / "nowhere" / "out.jsonl")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr


def test_a_fault_in_the_middle_leaves_the_old_file(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")

    def gone(*_: object) -> None:
        raise AuditError("the records' file is gone")

    monkeypatch.setattr("extauthz.audit.index.AuditIndex.read", gone)
    assert export("-d", bank.authority.directory, "--output", target).exit_code == 1
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.glob(".out*")] == []
