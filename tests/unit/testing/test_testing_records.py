from __future__ import annotations

import json

from extauthz.testing import records
from extauthz.testing.records import Records


def _line(number: int) -> bytes:
    return json.dumps({"decision_id": f"d-{number}", "n": number}).encode() + b"\n"


def test_records_are_found_as_they_come(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_bytes(_line(1) + _line(2))
    found = Records(file)
    assert found.find("d-2") == {"decision_id": "d-2", "n": 2}
    with file.open("ab") as more:
        more.write(_line(3))
    assert found.find("d-3")["n"] == 3
    assert found.find("d-1")["n"] == 1


def test_half_a_line_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_PATIENCE", 0.02)
    file = tmp_path / "records.jsonl"
    file.write_bytes(_line(1) + _line(2)[:9])
    found = Records(file)
    assert found.find("d-2") is None
    with file.open("ab") as more:
        more.write(_line(2)[9:])
    assert found.find("d-2")["n"] == 2


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"half a l\n[1]\n{}\n\n" + _line(1))
    assert Records(file).find("d-1")["n"] == 1


def test_without_a_file_there_is_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_PATIENCE", 0.02)
    assert Records(tmp_path / "none").find("d-1") is None
