"""Searching: every word narrows, several directories are one, and nothing that others wrote moves a cursor."""

from __future__ import annotations

import json
import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from extauthz.audit.chain import Chain
from extauthz.audit.fault import AuditError
from extauthz.audit.layout import path_of
from extauthz.audit.query import Query, moment
from extauthz.audit.search import Archive
from extauthz.audit.search_words import described
from extauthz.check.judgement_record import started_of
from extauthz.cli import app
from extauthz.cli.audit import tail
from extauthz.demo.zones import EDGE, ORCHESTRATION
from extauthz.judgement.quarantine import Key, Quarantine
from extauthz.model import deny
from tests.support.audit_hops import NOW, TRACE, Bank, Server, alice, digest, trail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

EVIL = "\x1b[2Jmallory\u202e\x9b1m"


def cli(*words: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, words)])


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    made = Bank(tmp_path)
    made.signed_in()
    made.transfer(last=deny("workload.route_denied", "route features"))
    made.save()
    return made


@pytest.fixture
def archive(bank: Bank) -> Iterator[Archive]:
    with Archive(bank.save()) as opened:
        opened.refresh()
        yield opened


def count(archive: Archive, **words: Any) -> int:
    return len(list(archive.find(Query(**words))))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, 11),
        ({"subject": ("alice",)}, 11),
        ({"subject": ("bob",)}, 0),
        ({"subject": ("ali*",)}, 11),
        ({"subject": ("ali?e",)}, 0),
        ({"subject": ("[a]lice",)}, 0),
        ({"workload": (EDGE.id,)}, 3),
        ({"workload": ("*/sa/gateway",)}, 3),
        ({"workload": (EDGE.id, ORCHESTRATION.id)}, 6),
        ({"tenant": ("acme",)}, 7),
        ({"route": ("edge-out",)}, 1),
        ({"layer": ("workload",)}, 1),
        ({"code": ("workload.route_denied",)}, 1),
        ({"code": ("workload.*",), "layer": ("workload",), "subject": ("alice",)}, 1),
        ({"event": ("token.exchanged",)}, 3),
        ({"event": ("token.*",)}, 4),
        ({"event": ("decision.denied",), "workload": (EDGE.id,)}, 0),
        ({"trace_id": (TRACE,)}, 10),
        ({"token": (digest("T1"),)}, 3),
        ({"made": (digest("T1"),)}, 2),
        ({"writer": "authority-0"}, 4),
        ({"writer": "authority-0", "seq": 2}, 1),
        ({"since": round(NOW * 1000)}, 10),
        ({"until": round(NOW * 1000)}, 1),
        ({"since": round(NOW * 1000) + 125, "until": round(NOW * 1000) + 375}, 2),
        ({"text": "route features"}, 1),
        ({"text": "route features", "event": ("decision.allowed",)}, 0),
        ({"text": "edge-in"}, 1),
        ({"limit": 3}, 3),
    ],
)
def test_every_word_narrows(archive: Archive, words: dict[str, Any], expected: int) -> None:
    assert count(archive, **words) == expected


def test_a_quarantine_is_found_by_whom_it_is_for(tmp_path: Path) -> None:
    server = Server(tmp_path / "a")
    for key in (Key("workload", EDGE.id, route="report-event"), Key("tenant", "acme", "https://issuer.example")):
        server.told("quarantine.started", started_of(Quarantine(key, NOW, NOW + 60, "operator")), NOW)
    server.save()
    with Archive([server.directory]) as archive:
        archive.refresh()
        assert count(archive, workload=(EDGE.id,), route=("report-event",)) == 1
        assert count(archive, tenant=("acme",)) == 1


def test_directories_are_merged_by_time(archive: Archive) -> None:
    newest = [match.hit.time for match in archive.find(Query(limit=None))]
    oldest = [match.hit.time for match in archive.find(Query(limit=None, order="oldest"))]
    assert newest == sorted(newest, reverse=True)
    assert oldest == newest[::-1]
    assert len({match.directory for match in archive.find(Query())}) == 5


def test_a_directory_that_is_named_twice_is_searched_once(bank: Bank) -> None:
    [directory, *_] = bank.save()
    with Archive([directory, directory / ".." / directory.name]) as archive:
        archive.refresh()
        assert count(archive) == 2


def test_an_index_goes_with_one_directory(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="--index"):
        Archive(bank.save(), tmp_path / "x.db")
    with pytest.raises(AuditError, match="no audit directory"):
        Archive([])


def test_text_is_found_in_packed_files_and_as_json_writes_it(tmp_path: Path) -> None:
    server = Server(tmp_path / "a")
    server.told("config.changed", {"reason": 'say "hello" Grüße'}, NOW)
    server.rotate()
    server.told("config.changed", {"reason": "other"}, NOW)
    server.save()
    with Archive([tmp_path / "a"]) as archive:
        archive.refresh()
        assert count(archive, text='"hello"') == 1
        assert count(archive, text="Grüße") == 1
        assert count(archive, text="nowhere") == 0
        assert count(archive, text="\ud800") == 0


def test_a_pattern_of_too_many_words_is_refused(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extauthz.audit.index_words._MATCHES", 2)
    with pytest.raises(AuditError, match="say more"):
        count(archive, route=("*",))


def test_the_index_has_the_order_so_that_nothing_is_sorted(archive: Archive) -> None:
    for words in ({"subject": ("alice",)}, {"event": ("decision.allowed",)}, {}):
        assert "TEMP B-TREE" not in archive.indexes[0].plan(Query(**words))  # type: ignore[arg-type]


def test_what_comes_is_found_once(bank: Bank) -> None:
    server = bank.servers["edge"]
    with Archive([server.directory]) as archive:
        archive.refresh()
        assert list(archive.new(Query())) == []
        server.decided(trail(9.0, EDGE, "edge-in", alice("T9")))
        server.save()
        assert [match.hit.route for match in archive.new(Query())] == ["edge-in"]
        server.decided(trail(9.1, EDGE, "edge-in", alice("T9")))
        server.save()
        assert list(archive.new(Query(route=("edge-out",)))) == []
        assert list(archive.new(Query())) == []


def test_following_a_file_that_rotates_loses_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "a")

    def pause(_seconds: float) -> None:
        server.told("config.changed", {"what": str(len(server.lines))}, NOW)
        server.save()
        if len(server.lines) == 2:
            server.rotate()

    with Archive([tmp_path / "a"]) as archive:
        seen = [match.hit.seq for match in islice(tail.following(archive, Query(), pause), 7)]
    assert seen == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T10:00:00Z", 1_795_428_000_000),
        ("2026-11-23", 1_795_392_000_000),
        ("2026-11-23T10:00:00.250+01:00", 1_795_424_400_250),
        ("90m", 1_800_000_000_000 - 5_400_000),
        ("1.5h", 1_800_000_000_000 - 5_400_000),
        ("250ms", 1_799_999_999_750),
    ],
)
def test_times_as_operators_write_them(text: str, expected: int) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "-5m", "9999999999d", "1e9s", "2026-13-01", "\x1b[2J"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(AuditError, match="is no time"):
        moment(text, NOW)


def test_search_prints_a_table_and_says_that_there_is_more(bank: Bank) -> None:
    directories = [word for directory in bank.save() for word in ("-d", directory)]
    done = cli("search", *directories, "--limit", 4)
    assert done.exit_code == 0
    assert bank.decisions["storage in"] in done.stdout
    assert "workload.route_denied" in done.stdout
    assert "there are more" in done.stderr
    assert "more" not in cli("search", *directories, "--layer", "workload").stderr


def test_search_for_machines(bank: Bank) -> None:
    done = cli("search", "-d", bank.authority.directory, "--event", "token.exchanged", "--json")
    found = json.loads(done.stdout)
    assert found["more"] is False
    assert [one["record"]["digest"] for one in found["records"]] == [digest(name) for name in ("T3", "T2", "T1")]
    assert all(one["intact"] for one in found["records"])


def test_show_says_everything_with_the_words_of_the_catalogue(bank: Bank) -> None:
    done = cli("show", bank.decisions["storage in"], "-d", bank.servers["storage"].directory)
    assert done.exit_code == 0
    for text in (
        "denied with 403 by workload",
        "The caller's workload may not call this route. Fix:",
        "route features",
    ):
        assert text in done.stdout
    assert "user alice of acme, jwt from https://authority.bank.example" in done.stdout
    assert "record 1 of serve-0" in done.stdout
    done = cli("show", "authority-0:2", "-d", bank.authority.directory, "--json")
    assert [one["record"]["event"] for one in json.loads(done.stdout)] == ["token.exchanged"]


def test_show_of_nothing_is_exit_code_2(bank: Bank) -> None:
    for name in ("nothing", "serve-0:99", "serve-0:99999999999999999999", ":1", f"x{EVIL}"):
        done = cli("show", name, "-d", bank.servers["edge"].directory)
        assert done.exit_code == 2
        assert "no record" in done.stderr
        assert "\x1b" not in done.stderr


def test_every_member_of_a_record_is_shown(tmp_path: Path) -> None:
    told = {"event": "x.y", "unheard_of": {"a": [1]}, "subject": {"id": "u"}, "metrics": {"t": 1}, "chain": "c" * 64}
    names = dict(described(told))
    assert names["unheard_of"] == '{"a":[1]}'
    assert names["metrics"] == '{"t":1}'
    assert names["chain"] == "c" * 64


def test_tail_prints_the_latest_last(bank: Bank) -> None:
    done = cli("tail", "-d", bank.servers["edge"].directory, "-n", 5)
    lines = done.stdout.splitlines()
    assert ["edge-in" in lines[0], "edge-out" in lines[1]] == [True, True]
    [line] = cli("tail", "-d", bank.servers["edge"].directory, "--json", "--route", "edge-out").stdout.splitlines()
    assert json.loads(line)["record"]["request"]["route"] == "edge-out"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Records that want to write on the terminal, and a line that is none."""
    directory = tmp_path / "evil"
    directory.mkdir()
    told = {
        "event": "decision.denied",
        "timestamp": "2026-11-23T10:00:00.000+00:00",
        "decision_id": EVIL,
        "trace_id": EVIL,
        "subject": {"type": EVIL, "id": EVIL, "act": [EVIL]},
        "workload": EVIL,
        "request": {"route": EVIL, "path": EVIL},
        "code": EVIL,
        "layer": EVIL,
        "result": {"allow": False, "reasons": [{"code": EVIL, "detail": EVIL}]},
        EVIL: EVIL,
    }
    line = Chain("serve-0").sealed(orjson.dumps(told)[1:-1])
    path_of(directory, "serve-0", 1).write_bytes(line + EVIL.encode() + b"\n")
    return directory


@pytest.mark.parametrize(
    "words",
    [
        ("search",),
        ("search", "--json"),
        ("tail",),
        ("tail", "--json"),
        ("show", EVIL),
        ("show", EVIL, "--json"),
        ("show", "serve-0:1"),
        ("reconstruct", EVIL),
        ("reconstruct", EVIL, "--json"),
        ("export", "--format", "ocsf"),
    ],
)
def test_nothing_that_others_wrote_reaches_the_terminal_as_a_command(evil: Path, words: tuple[str, ...]) -> None:
    done = cli(*words, "-d", evil)
    assert done.exit_code in {0, 3}, done.output
    assert "mallory" in done.stdout
    for letter in ("\x1b", "\u202e", "\x9b"):
        assert letter not in done.stdout
        assert letter not in done.stderr


def test_lines_that_are_no_records_are_told_and_found(evil: Path) -> None:
    done = cli("search", "-d", evil, "--event", "(malformed)")
    assert "1 new lines are no records" in done.stderr
    assert "(malformed)" in done.stdout


def test_a_record_that_was_changed_since_is_exit_code_4(bank: Bank) -> None:
    server = bank.servers["edge"]
    words = ("-d", server.directory)
    assert cli("search", *words).exit_code == 0
    path = path_of(server.directory, "serve-0", 1)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"alice", b"ALICE", 1))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    done = cli("show", bank.decisions["edge in"], *words)
    assert done.exit_code == 4
    assert "CHANGED" in done.stdout
    assert cli("export", *words).exit_code == 4


def test_faults_are_one_line(tmp_path: Path) -> None:
    done = cli("search", "-d", tmp_path / "nowhere")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert cli("search", "-d", tmp_path, "--since", "gestern").exit_code == 1
    assert cli("search", "-d", tmp_path, "--limit", "0").exit_code == 2


def test_every_option_of_the_page_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    section = page[page.index("## Searching") : page.index("## Speed")]
    known = {
        option
        for verb in ("search", "tail", "show", "export", "reconstruct")
        for parameter in get_command(app).commands["audit"].commands[verb].params  # type: ignore[attr-defined]
        for option in parameter.opts
    }
    told = set(re.findall(r"(--[a-z]+)\b", section))
    assert len(told) > 15
    assert told <= known
