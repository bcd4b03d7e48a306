"""What happened around a decision, from records that real trails left at four servers and the authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from extauthz.audit.reconstruct import Evidence, Story, reconstruct
from extauthz.audit.reconstruct_gather import gather
from extauthz.audit.reconstruct_text import document, lines
from extauthz.audit.search import Archive
from extauthz.check.judgement_record import record_of, started_of
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, STORAGE
from extauthz.judgement.quarantine import Key, Quarantine
from extauthz.judgement.verdict import Verdict
from extauthz.model import Deny, Reason, deny
from extauthz.telemetry import trace_context
from tests.support.audit_hops import NOW, TRACE, Bank, alice, digest, exchanged, trail

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REFUSED = Deny(
    (Reason("workload.route_denied", detail="route features"), Reason("attribute.tenant_mismatch", "Not your tenant."))
)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path)


def told(bank: Bank, decision: str, directories: Iterable[Path] | None = None) -> Story:
    every = bank.save()
    with Archive(list(directories or every)) as archive:
        archive.refresh()
        evidence, remarks = gather(archive, decision)
    story = reconstruct(evidence, decision, remarks)
    assert story is not None
    return story


def texts(story: Story, kind: str) -> list[str]:
    return [remark.text for remark in story.remarks if remark.kind == kind]


def path(story: Story, event: str = "") -> list[str]:
    """From the root to the deepest step."""
    deepest = max(story.roots[0].walk(), key=lambda step: len(list(step.above())))
    return [step.evidence.event for step in reversed([deepest, *deepest.above()])]


@pytest.mark.parametrize("asked", ["edge in", "orchestration out", "storage in"])
def test_a_transfer_through_four_zones_is_one_chain_wherever_one_begins(bank: Bank, asked: str) -> None:
    bank.signed_in()
    bank.transfer(last=REFUSED)
    story = told(bank, bank.decisions[asked])
    assert story.remarks == ()
    assert story.whole
    assert len(story.roots) == 1
    assert path(story) == [
        "token.issued",
        "decision.allowed", "decision.allowed", "token.exchanged",
        "decision.allowed", "decision.allowed", "token.exchanged",
        "decision.allowed", "decision.allowed", "token.exchanged",
        "decision.denied",
    ]  # fmt: skip
    steps = list(story.steps())
    assert len(steps) == 11
    assert [step.after for step in steps] == [None, 5000, *[125] * 9]
    assert {step.link for step in steps[1:]} == {"token"}
    last = steps[-1].evidence
    assert last.acting == (MODEL.id, ORCHESTRATION.id, EDGE.id)
    assert last.decision_id == bank.decisions["storage in"]


def test_the_story_as_text_says_who_for_whom_what_and_why(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer(last=REFUSED)
    text = "\n".join(lines(told(bank, bank.decisions["storage in"])))
    assert text.count("◀ asked for") == 1
    assert f"acting for it: {EDGE.id} → {ORCHESTRATION.id} → {MODEL.id}" in text
    assert "denied with 403 by workload" in text
    assert "reason: workload.route_denied: The caller's workload may not call this route. Fix: " in text
    assert "reason: attribute.tenant_mismatch" in text
    assert "extauthz/payments/decision at policies-7" in text
    assert f"token {digest('T1')}, for {ORCHESTRATION.audience}, purpose payment" in text
    assert "from jti-T2 ← jti-T1 ← jti-T0" in text
    assert "nothing is missing, nothing contradicts" in text


def test_the_story_as_json_links_each_token_to_the_next_hop(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer()
    found = orjson.loads(orjson.dumps(document(told(bank, bank.decisions["edge in"]))))
    steps = found["steps"]
    assert found["trace_id"] == TRACE
    assert [step["below"] for step in steps] == [None, *range(10)]
    exchanges = [step for step in steps if step["event"] == "token.exchanged"]
    for step in exchanges:
        [next_hop] = [one for one in steps if one["below"] == step["step"]]
        assert next_hop["credential"]["token"] == step["exchange"]["token"]
        assert step["exchange"]["of"] == step["credential"]["token"]
    assert exchanges[2]["exchange"]["ancestors"] == ["jti-T0", "jti-T1", "jti-T2"]


def test_without_the_authority_every_exchange_is_missing_and_the_chain_holds(bank: Bank) -> None:
    bank.transfer()
    directories = [directory for directory in bank.save() if directory.name != "authority"]
    story = told(bank, bank.decisions["storage in"], directories)
    assert len(story.roots) == 1
    assert path(story) == ["decision.allowed"] * 7
    assert [digest(f"T{number}") in text for number, text in enumerate(texts(story, "missing"), 1)] == [True] * 3
    assert not story.whole


def test_a_hop_without_a_record_is_named_from_both_sides(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer()
    directories = [directory for directory in bank.save() if directory.name != MODEL.name]
    story = told(bank, bank.decisions["edge in"], directories)
    missing = texts(story, "missing")
    assert any(digest("T2") in text and f"shown to {MODEL.audience}" in text for text in missing)
    assert any(digest("T3") in text and "was exchanged for" in text for text in missing)
    assert bank.decisions["storage in"] in {step.evidence.decision_id for step in story.steps()}


def test_a_chain_that_begins_in_the_middle_says_that_a_hop_is_before_it(bank: Bank) -> None:
    bank.transfer()
    bank.save()
    story = told(bank, bank.decisions["storage in"], [bank.servers[STORAGE.name].directory])
    [text] = texts(story, "missing")
    assert "the hop before" in text
    assert digest("T3") in text


def test_clocks_that_disagree_are_named_with_the_difference(bank: Bank) -> None:
    bank.signed_in()
    bank.servers[ORCHESTRATION.name].skew = -2.0
    bank.transfer()
    story = told(bank, bank.decisions["edge in"])
    wrong = texts(story, "contradiction")
    assert any("1875 ms before" in text and "clocks disagree" in text for text in wrong)
    assert len(list(story.steps())) == 11


def test_an_exchange_that_was_kept_is_found_in_its_earlier_trace(bank: Bank) -> None:
    bank.signed_in()
    actors, earlier = (EDGE.id,), "0" * 31 + "1"
    told_before = exchanged("T0", "T1", ORCHESTRATION, actors, ("jti-T0",), -1.0) | {"trace_id": earlier}
    bank.authority.told("token.exchanged", told_before, NOW - 1.0)
    bank.transfer(cached=True)
    story = told(bank, bank.decisions["orchestration in"])
    assert story.whole
    assert texts(story, "note") == [f"token {digest('T1')} was exchanged for an earlier request and kept"]
    assert len(path(story)) == 11


def test_a_platform_without_traces_is_followed_by_its_tokens(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer(trace="")
    story = told(bank, bank.decisions["model in"])
    assert len(path(story)) == 11
    assert story.whole


def test_a_token_of_many_requests_without_traces_is_not_guessed_at(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer(trace="")
    for number in range(3):
        again = trail(1.0 + number, ORCHESTRATION, "orchestration-in", alice("T1", EDGE.id), EDGE.id, trace="")
        bank.servers[ORCHESTRATION.name].decided(again)
    story = told(bank, bank.decisions["edge out"])
    assert [text for text in texts(story, "note") if digest("T1") in text]
    assert not any(
        step.evidence.presented == digest("T1") and step.evidence.kind == "decision" for step in story.steps()
    )


def test_a_token_that_proved_another_subject_contradicts(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer()
    mallory = alice("T3", MODEL.id, ORCHESTRATION.id, EDGE.id)
    object.__setattr__(mallory, "id", "mallory")
    bank.servers[STORAGE.name].lines.clear()
    decision = bank.servers[STORAGE.name].decided(trail(0.2, STORAGE, "storage-in", mallory, MODEL.id))
    story = told(bank, decision)
    assert any("was made for alice" in text and "proved mallory" in text for text in texts(story, "contradiction"))


def test_another_chain_of_actors_and_a_token_after_its_end_contradict(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer()
    late = trail(90.0, STORAGE, "storage-in", alice("T3", MODEL.id, EDGE.id), MODEL.id)
    story = told(bank, bank.servers[STORAGE.name].decided(late))
    wrong = texts(story, "contradiction")
    assert any("and the exchange" in text for text in wrong)
    assert any("ms after its end" in text for text in wrong)


def test_an_exchange_of_another_token_than_was_shown_contradicts(bank: Bank) -> None:
    bank.servers[EDGE.name].decided(trail(0.0, EDGE, "edge-in", alice("T0")))
    told_by = exchanged("T0", "T1", ORCHESTRATION, (EDGE.id,), ("jti-of-another",), 0.25)
    bank.authority.told("token.exchanged", told_by, NOW + 0.25)
    decision = bank.servers[ORCHESTRATION.name].decided(
        trail(0.375, ORCHESTRATION, "orchestration-in", alice("T1", EDGE.id), EDGE.id)
    )
    wrong = texts(told(bank, decision), "contradiction")
    assert any("jti-of-another" in text and "not jti-T0" in text for text in wrong)


def test_judgement_quarantine_and_break_glass_belong_to_their_check(bank: Bank) -> None:
    server = bank.servers[EDGE.name]
    check = trail(0.0, EDGE, "report-event", alice("T0"))
    check.mode = "async"
    decision = server.decided(check)
    assert any("its judgement" in text for text in texts(told(bank, decision), "missing"))
    reason = "attribute.tenant_mismatch"
    verdict = Verdict(decision, "r-1", "report-event", "denied", NOW + 0.5, 0.5, reason, "globex is not acme")
    judged = {
        name: value for name, value in record_of(None, verdict, None).items() if name not in {"type", "timestamp"}
    }
    server.told("decision.judged", judged, NOW + 0.5)
    made = Quarantine(Key("token", digest("T0"), route="report-event"), NOW + 0.5, NOW + 600.5, "strikes", decision)
    server.told("quarantine.started", started_of(made), NOW + 0.625)
    grant = {"break_glass": {"grant": "G-1", "ticket": "INC-7"}, "code": "token.break_glass"}
    server.told("break_glass.refused", {"decision_id": decision, **grant}, NOW + 0.125)
    story = told(bank, decision)
    assert story.whole
    [root] = story.roots
    assert {step.evidence.event for step in root.children} == {
        "decision.judged",
        "quarantine.started",
        "break_glass.refused",
    }
    assert {step.link for step in root.children} == {"decision"}
    text = "\n".join(lines(story))
    assert "INC-7" in text
    assert "reason: attribute.tenant_mismatch [globex is not acme]" in text
    assert '"outcome":"denied"' in text
    assert f'"value":"{digest("T0")}"' in text


def test_a_stranger_with_the_same_trace_id_is_linked_by_that_alone(bank: Bank) -> None:
    bank.signed_in()
    bank.transfer()
    stranger = trail(0.05, EDGE, "create-transfer", None, decision=deny("token.missing"))
    refused = bank.servers[EDGE.name].decided(stranger)
    story = told(bank, bank.decisions["storage in"])
    [step] = [step for step in story.steps() if step.evidence.decision_id == refused]
    assert step.link == "trace"
    assert "which a caller chooses" in "\n".join(lines(story))
    assert story.whole


def test_a_span_of_ours_is_the_strongest_link(bank: Bank) -> None:
    first = bank.servers[EDGE.name].decided(trail(0.0, EDGE, "edge-in", alice("T0")))
    after = trail(0.01, ORCHESTRATION, "orchestration-in", alice("other"), EDGE.id)
    after.traceparent = f"00-{TRACE}-{trace_context.span_id(first)}-01"
    second = bank.servers[ORCHESTRATION.name].decided(after)
    story = told(bank, second)
    assert [(step.link, step.evidence.decision_id) for step in story.steps()] == [("root", first), ("span", second)]


def test_a_decision_that_nobody_recorded_has_no_story(bank: Bank) -> None:
    with Archive(bank.save()) as archive:
        archive.refresh()
        assert gather(archive, "00000000-0000-4000-8000-000000000000") == ([], [])
    assert reconstruct([], "x") is None


def _made(name: str, **members: Any) -> Evidence:
    return Evidence({"event": name, "timestamp": "2027-01-15T08:00:00.000+00:00", "trace_id": TRACE, **members})


def test_records_that_lead_to_each_other_make_no_circle() -> None:
    first = _made("token.exchanged", writer="a", seq=1, subject={"token": "b" * 16}, digest="c" * 16)
    second = _made("token.exchanged", writer="a", seq=2, subject={"token": "c" * 16}, digest="b" * 16)
    asked = _made("decision.allowed", writer="a", seq=3, decision_id="d", subject={"id": "x", "token": "c" * 16})
    story = reconstruct([first, second, asked], "d")
    assert story is not None
    assert sorted(step.evidence.name for step in story.steps()) == ["a:1", "a:2", "a:3"]


def test_a_chain_of_thousands_is_told_without_recursion() -> None:
    count = 2000
    made = [
        _made("token.exchanged", writer="a", seq=n, subject={"token": f"{n:016x}"}, digest=f"{n + 1:016x}")
        for n in range(count)
    ]
    asked = _made("decision.denied", writer="b", seq=1, decision_id="d", subject={"token": f"{count:016x}"})
    story = reconstruct([*made, asked], "d")
    assert story is not None
    assert len(document(story)["steps"]) == count + 1
    assert max(map(len, lines(story))) < 500


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [1], {"token": 3}, {"id": {}}, True])
def test_members_of_any_kind_break_nothing(value: Any) -> None:
    names = (
        "subject",
        "exchange",
        "request",
        "result",
        "workload",
        "trace_id",
        "code",
        "reasons",
        "timestamp",
        "cached",
    )
    record = dict.fromkeys((*names, "resource", "actors", "audience", "digest", "expires_at", "mode", "failure"), value)
    story = reconstruct([Evidence({**record, "event": "decision.allowed", "decision_id": "d"})], "d")
    assert story is not None
    assert "".join(lines(story))
    assert orjson.dumps(document(story))


def test_a_changed_record_is_a_contradiction() -> None:
    one = Evidence({"event": "decision.allowed", "decision_id": "d", "writer": "a", "seq": 1}, intact=False)
    story = reconstruct([one], "d")
    assert story is not None
    assert not story.whole
    assert "CHANGED" in "\n".join(lines(story))
