"""Denial tickets: what is kept, what is shown, what is found in a file of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from extauthz.model import Allow, Deny, Reason, deny
from extauthz.telemetry import record
from extauthz.telemetry.tickets import Mask, Tickets, find_in_file
from extauthz.telemetry.trail import RouteFacts, Stage, Trail

if TYPE_CHECKING:
    from pathlib import Path

ROUTE = RouteFacts("create-transfer", entrypoint="extauthz/payments/decision", action="transfer.create")
INPUT = {
    "subject": {"type": "user", "id": "alice", "properties": {"tenant": "acme", "roles": ["clerk"]}},
    "resource": {"type": "transfer", "id": "T-1", "properties": {"amount": 5, "created_by": "alice"}},
    "context": {"note": "Bearer abcdefghijk"},
}
DENIAL = Deny((Reason("attribute.amount", "Too much.", "Ask for less.", "limit 3"), Reason("role.denied")))


def trail(decision: Any = DENIAL) -> Trail:
    made = Trail(1_800_000_000.25)
    made.route, made.decision, made.policy_input = ROUTE, decision, INPUT
    made.revision = "rev-1"
    made.mark(Stage.POLICY)
    return made


def test_a_denial_is_kept_with_every_word() -> None:
    tickets = Tickets(10)
    kept = trail()
    tickets.add(kept)
    story = tickets.find(kept.decision_id)
    assert story is not None
    assert story["source"] == "memory"
    assert story["reasons"][0] == {
        "code": "attribute.amount",
        "message": "Too much.",
        "remedy": "Ask for less.",
        "detail": "limit 3",
    }
    assert story["reasons"][1]["message"] == "The policy denies this request."  # the catalogue's words
    assert story["record"]["revision"] == "rev-1"
    assert story["record"]["metrics"]["timer_policy_us"] > 0
    assert story["input"] is None  # not kept unless asked for
    assert kept.policy_input is None
    orjson.dumps(story)


def test_an_allow_is_not_kept_and_a_cancelled_check_is() -> None:
    tickets = Tickets(10)
    allowed, cancelled = trail(Allow()), trail(None)
    tickets.add(allowed)
    tickets.add(cancelled)
    assert tickets.find(allowed.decision_id) is None
    story = tickets.find(cancelled.decision_id)
    assert story is not None
    assert story["record"]["code"] == "engine.internal"


def test_the_oldest_goes() -> None:
    tickets = Tickets(2)
    trails = [trail(), trail(), trail()]
    for one in trails:
        tickets.add(one)
    assert len(tickets) == 2
    assert tickets.find(trails[0].decision_id) is None
    assert tickets.find(trails[2].decision_id) is not None


def test_the_input_is_shown_masked() -> None:
    tickets = Tickets(2, inputs=True, mask=["subject.id", "resource.properties.created_by"])
    kept = trail()
    tickets.add(kept)
    story = tickets.find(kept.decision_id)
    assert story is not None
    shown = story["input"]
    assert shown["subject"]["id"].startswith("masked:")
    assert shown["subject"]["id"] == shown["resource"]["properties"]["created_by"]  # equal values stay recognisable
    assert shown["subject"]["properties"] == {"tenant": "acme", "roles": ["clerk"]}
    assert shown["resource"]["id"] == "T-1"
    assert "abcdefghijk" not in str(shown)  # what looks like a secret is taken out anyway
    assert INPUT["subject"]["id"] == "alice"


def test_two_processes_mask_differently() -> None:
    assert Mask(["a"])({"a": "x"}) != Mask(["a"])({"a": "x"})


def test_a_masked_value_may_be_of_any_kind() -> None:
    shown = Mask(["a", "b.c"])({"a": {"deep": [1]}, "b": {"c": 5, "d": 6}})
    assert shown["a"].startswith("masked:")
    assert shown["b"]["c"].startswith("masked:")
    assert shown["b"]["d"] == 6


def test_a_decision_is_found_in_a_file_of_records(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    trails = [trail(deny("token.expired", f"number {number}")) for number in range(4000)]
    file.write_bytes(b"".join(record.line(one, {}) for one in trails))  # more than one chunk
    assert file.stat().st_size > 2 * 1024 * 1024
    for number in (0, 1, 1999, 2500, 3998, 3999):
        story = find_in_file(file, trails[number].decision_id)
        assert story is not None
        assert story["source"] == "records"
        assert story["reasons"] == [{"code": "token.expired", "detail": f"number {number}"}]
    assert find_in_file(file, trail().decision_id) is None


@pytest.mark.parametrize("wanted", ["", "x", '"}{', "../../etc/passwd", "0f8e6a52-7a39-1f0e-9d55-6a3c3a1f0b1e"])
def test_what_is_no_decision_id_is_not_looked_for(tmp_path: Path, wanted: str) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(f'{{"type":"check","decision_id":"{wanted}","result":{{}}}}\n')
    assert find_in_file(file, wanted) is None


def test_a_file_that_is_not_there_or_torn_gives_nothing(tmp_path: Path) -> None:
    kept = trail()
    assert find_in_file(tmp_path / "missing", kept.decision_id) is None
    file = tmp_path / "torn.jsonl"
    line = record.line(kept, {})
    file.write_bytes(line[:-20] + b"\n" + b'{"type":"comparison","decision_id":"' + kept.decision_id.encode() + b'"}\n')
    assert find_in_file(file, kept.decision_id) is None
    file.write_bytes(file.read_bytes() + line.rstrip())
    story = find_in_file(file, kept.decision_id)
    assert story is not None
