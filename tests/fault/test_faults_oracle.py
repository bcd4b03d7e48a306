"""The judge of `make faults` is judged: what it calls wrongly allowed, lost, denied by the fault."""

from __future__ import annotations

import pytest

from tests.faults.load import _mixed, p99, well
from tests.faults.oracle import ENVOY_TIMEOUT, MARGIN, Answer, Kind
from tests.faults.rows import Row

pytestmark = pytest.mark.fault

GOOD = Kind("good", "pay", "allow", "/pay/acme", dict)
REFUSED = Kind("refused", "pay", "policy", "/pay/globex", dict, frozenset({"role.denied"}))
OPEN = Kind("refused, open", "ping", "policy", "/ping/globex", dict, frozenset({"role.denied"}), may_pass=True)
FORGED = Kind("forged", "ping", "identity", "/ping/acme", dict, frozenset({"token.signature"}), may_pass=True)
LATE = ENVOY_TIMEOUT + MARGIN + 0.1


def served(kind: Kind, mode: str = "", took: float = 0.01) -> Answer:
    return Answer(kind, 0.0, took, 200, mode=mode, served=True, decision_id="d")


def refused(kind: Kind, status: int, code: str, decision_id: str = "d", took: float = 0.01) -> Answer:
    return Answer(kind, 0.0, took, status, code, decision_id)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (served(GOOD), "allowed"),
        (served(GOOD, "degraded"), "allowed"),
        (served(GOOD, took=LATE), "lost"),
        (served(REFUSED), "wrong"),
        (served(REFUSED, "open"), "wrong"),
        (served(REFUSED, took=LATE), "wrong"),
        (served(OPEN), "wrong"),
        (served(OPEN, "degraded"), "wrong"),
        (served(OPEN, "open"), "allowed"),
        (served(OPEN, "async"), "allowed"),
        (served(FORGED), "wrong"),
        (served(FORGED, "open"), "wrong"),
        (served(FORGED, "async"), "wrong"),
        (refused(REFUSED, 403, "role.denied"), "denied"),
        (refused(REFUSED, 403, "role.denied", ""), "lost"),
        (refused(REFUSED, 403, "token.signature"), "lost"),
        (refused(FORGED, 401, "token.signature"), "denied"),
        (refused(GOOD, 403, "role.denied"), "lost"),
        (refused(GOOD, 503, "engine.unavailable"), "by_fault"),
        (refused(GOOD, 503, "engine.unavailable", ""), "by_fault"),
        (refused(GOOD, 503, "engine.unavailable", took=LATE), "lost"),
        (refused(GOOD, 503, ""), "lost"),
        (refused(GOOD, 200, ""), "lost"),
        (refused(GOOD, 500, "engine.unavailable"), "lost"),
        (Answer(GOOD, 0.0, 6.0, problem="TimeoutError"), "lost"),
    ],
)
def test_an_answer_is_what_it_is(answer: Answer, what: str) -> None:
    assert answer.of == what


def test_a_row_counts_and_says_what_was_lost_and_wrong() -> None:
    row = Row("x", "a fault", "a promise")
    row.take([served(GOOD), served(FORGED), refused(GOOD, 401, "token.keys_unavailable"), Answer(GOOD, 0.0, 1.0)])
    assert (row.requests, row.lost, row.wrong, row.kept) == (4, 2, 1, False)
    assert any("wrongly allowed: forged" in sentence for sentence in row.broken)
    tolerant = Row("x", "a fault", "a promise")
    tolerant.take([refused(GOOD, 401, "token.keys_unavailable")], frozenset({"token.keys_unavailable"}))
    assert tolerant.kept


def test_a_row_without_requests_proves_nothing() -> None:
    row = Row("x", "a fault", "a promise")
    row.take([])
    assert not row.kept


def test_all_is_well_only_when_nothing_is_degraded() -> None:
    assert [well(served(GOOD, mode)) for mode in ("", "async", "degraded", "open")] == [True, True, False, False]


def test_every_sort_of_request_is_made() -> None:
    turns = _mixed([GOOD, REFUSED, FORGED])
    assert {kind.name for kind in turns} == {"good", "refused", "forged"}
    assert turns.count(GOOD) == 8


def test_the_99th_percentile() -> None:
    assert p99(served(GOOD, took=number / 100) for number in range(100)) == 0.99
    assert p99([]) == 0.0
