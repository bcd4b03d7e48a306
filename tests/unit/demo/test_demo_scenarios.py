"""The table of scenarios, what is shown of it, and what is counted under load."""

from __future__ import annotations

import io
import json
import socket
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from extauthz.codes import CODES, Layer
from extauthz.demo import report, session
from extauthz.demo.attempts import SCENARIOS
from extauthz.demo.attempts.scenario import allowed, denied
from extauthz.demo.lab import Answer
from extauthz.demo.layout import plan
from extauthz.demo.load import Load
from extauthz.demo.runner import Row, choose
from extauthz.errors import ExtauthzError


async def _nothing(_):
    return Answer(200)


def test_enough_attempts_must_fail_and_two_a_layer():
    refused = Counter(scenario.layer for scenario in SCENARIOS if scenario.layer)
    assert refused.total() >= 20
    assert all(refused[layer] >= 2 for layer in Layer)


def test_names_are_unique_and_statuses_are_those_of_the_codes():
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    for scenario in SCENARIOS:
        if scenario.code in CODES:
            assert CODES[scenario.code].layer == scenario.layer


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (Answer(403, "attribute", "attribute.x"), True),
        (Answer(200), False),
        (Answer(403, "attribute", "attribute.y"), False),
        (Answer(401, "attribute", "attribute.x"), False),
        (Answer(403), False),
        (Answer(0, code="hang"), False),
    ],
)
def test_only_the_expected_denial_will_do(answer, good):
    assert (denied("n", "w", 403, "attribute.x", _nothing).problem(answer) == "") is good


def test_an_allow_is_looked_at_closely():
    scenario = allowed("n", "w", _nothing, lambda answer: "" if answer.body.get("rows") else "no rows")
    assert scenario.problem(Answer(200, body={"rows": [1]})) == ""
    assert scenario.problem(Answer(200)) == "no rows"
    assert scenario.problem(Answer(503, "engine", "engine.unavailable", {"rows": [1]})) == "expected 200 allowed"


def test_one_scenario_can_be_chosen():
    assert [scenario.name for scenario in choose("tenant-crossing")] == ["tenant-crossing"]
    with pytest.raises(ExtauthzError, match="no scenario is called nonsense"):
        choose("nonsense")


def _rows():
    good = denied("good", "tried", 403, "role.none", _nothing)
    return [
        Row(good, Answer(403, "role", "role.none"), "", 1, 700),
        Row(good, Answer(200), "expected 403 role.none", 0, 0),
    ]


def test_the_last_line_of_json_is_one_object():
    out, progress = io.StringIO(), io.StringIO()
    shown = report.JsonReport(report.PlainReport(progress), out)
    shown.step("starting")
    for row in _rows():
        shown.row(row)
    shown.end(_rows(), 1.0)
    body = json.loads(out.getvalue().splitlines()[-1])
    assert body["ok"] is False
    assert [row["ok"] for row in body["scenarios"]] == [True, False]
    assert {"name", "expected", "status", "layer", "code", "ok"} <= body["scenarios"][0].keys()
    assert "starting" in progress.getvalue()


def test_plain_lines_name_what_is_wrong():
    out = io.StringIO()
    shown = report.PlainReport(out)
    for row in _rows():
        shown.row(row)
    assert "BAD" in out.getvalue()
    assert "expected 403 role.none" in out.getvalue()


@pytest.mark.parametrize(
    ("answer", "forbidden", "sound"),
    [
        (Answer(201), False, True),
        (Answer(201), True, False),
        (Answer(403, "attribute", "attribute.tenant_mismatch"), True, True),
        (Answer(503, "engine", "engine.unavailable"), False, True),
        (Answer(502), True, True),
        (Answer(0, code="connection.failed"), True, True),
        (Answer(0, code="hang"), False, False),
        (Answer(204), False, False),
        (Answer(403), False, False),
    ],
)
def test_load_counts_what_must_not_be(answer, forbidden, sound):
    load = Load(lab=None)
    load._count(answer, forbidden=forbidden)
    assert load.sound is sound
    assert load.total == 1


def test_a_port_that_is_taken_is_told_before_anything_starts():
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ExtauthzError, match="--port"):
            plan(Path(folder), taken.getsockname()[1])


def test_a_folder_that_is_too_deep_for_sockets_is_told(tmp_path):
    with pytest.raises(ExtauthzError, match="TMPDIR"):
        plan(tmp_path / ("x" * 120))


def test_only_one_demonstration_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_lock_file", lambda: tmp_path / "lock")
    assert session.down() is False
    with session.kept(), pytest.raises(ExtauthzError, match="running already"), session.kept():
        raise AssertionError("unreachable")
    assert session.down() is False
