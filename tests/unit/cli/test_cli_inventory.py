"""`extauthz inventory`: outputs, exit codes, and tables that nothing from outside can break."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.testing import CliRunner

from extauthz.cli import app, tables
from extauthz.errors import ConfigError
from tests.support.inventory import MODEL, server

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Said:
    code: int
    out: str
    err: str


def command(*words: object) -> Said:
    done = CliRunner().invoke(app, ["inventory", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def record(**changes: Any) -> str:
    made = {
        "type": "check",
        "labels": {"zone": "storage"},
        "subject": {"type": "user", "id": "alice", "credential": "jwt", "issuer": "https://issuer.example"},
        "workload": MODEL,
        "action": "features.read",
        "resource": {"type": "features", "id": ""},
        "request": {"route": "read-features"},
        "code": "",
        "result": {"allow": True},
    }
    return json.dumps({**made, **changes}) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "extauthz.yaml"
    path.write_text(yaml.safe_dump(server()))
    return path


def test_tables_json_and_pictures(file: Path):
    said = command(file)
    assert said.code == 0
    assert all(
        title in said.out for title in ("Principals", "Ways in", "Whose word counts", "Data", "Standing privilege")
    )
    found = json.loads(command(file, "--json").out)
    assert found.keys() == {"files", "principals", "paths", "trust", "data", "standing", "gaps"}
    assert found["paths"][0]["id"] == "storage/read-features"
    assert command(file, "--mermaid").out.startswith("flowchart LR\n")
    ET.fromstring(command(file, "--svg").out)  # noqa: S314 - our own picture
    assert command(file, "--svg", "--json").code == 2


def test_standing_privilege_fails_where_it_is_asked_to(file: Path):
    assert command(file, "--standing").code == 0
    said = command(file, "--standing", "--fail-on-standing", "--json")
    assert (said.code, [one["kind"] for one in json.loads(said.out)["standing"]]) == (2, ["unchecked_chain"])
    tight = server(workload={"trust_domains": {"bank.example": {"trust_bundle": "ca.pem"}}, "registered": [MODEL]})
    file.write_text(yaml.safe_dump(tight))
    said = command(file, "--standing", "--fail-on-standing")
    assert (said.code, said.out) == (0, "Standing privilege: none\n")
    file.write_text(yaml.safe_dump({**tight, "api_keys": {"file": "absent.yaml"}}))
    said = command(file, "--standing", "--fail-on-standing")
    assert (said.code, "not seen: storage: the file of api_keys" in said.err) == (2, True)


def test_records_are_compared(file: Path, tmp_path: Path):
    (tmp_path / "records.jsonl").write_text(record())
    (tmp_path / "records.jsonl.1").write_text(record(result={"allow": False}, code="role.denied"))
    said = command(file, "--observed", f"{tmp_path}/records.jsonl*")
    assert said.code == 0
    assert said.out.endswith("2 decision records, 0 other lines, 0 questions: no undocumented path\n")
    (tmp_path / "records.jsonl.2").write_text(record(request={"route": "delete-features"}))
    # A file that several patterns name counts once.
    said = command(file, "--observed", f"{tmp_path}/records.jsonl*", "--observed", tmp_path / "records.jsonl")
    assert (said.code, "storage/delete-features" in said.out) == (3, True)
    assert "3 decision records" in said.out


def test_what_cannot_be_read_is_told_in_a_line(file: Path, tmp_path: Path):
    assert (said := command(file, "--observed", tmp_path / "none")).code == 1
    assert "cannot be read" in said.err
    assert "no file fits" in command(file, "--observed", f"{tmp_path}/none*").err
    with pytest.raises(ConfigError):
        command(tmp_path / "absent.yaml")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_cell_is_text_and_nothing_else(terminal: bool, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    tables.print_table("t", ("a", "b"), [("[bold]x[/bold]", "\x1b]0;title\x07\u202e"), ("", "ä")])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert not {"\x1b]0", "\x07", "\u202e"} & set(out)
    assert "\x1b]0" not in out
