"""Admission as a pure controller: a clock that the test moves, and a loop whose queue is as long as the test says."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.check import admission, respond
from extauthz.check.admission import CRITICAL, NORMAL, SHEDDABLE, Admission
from extauthz.check.routes import RouteSettings
from extauthz.clock import ManualClock
from extauthz.model import Deny, Reason, Request
from extauthz.telemetry.metrics import Metrics
from tests.support import parts
from tests.support.bank import open_bank, read, route

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGET = 0.003
CLASSES = {SHEDDABLE: "sheddable", NORMAL: "normal", CRITICAL: "critical"}


@dataclass
class Worker:
    """`lag`: how long whatever is put at the end of the queue waits there."""

    in_flight: int = 256
    lag: float = 0.0
    asking: int = 0
    answered: int = 0
    rate: float = 0.0
    """Answers of the engine, a second."""
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=Metrics)
    queue: deque[tuple[float, Callable[[], None]]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.metrics.know(CLASSES.values())
        self.admission = Admission(
            self.in_flight, TARGET, 8, load=self, metrics=self.metrics, clock=self.clock, later=self._later
        )

    def _later(self, call: Callable[[], None]) -> None:
        self.queue.append((self.clock.monotonic() + self.lag, call))

    def move(self, seconds: float) -> None:
        """Time passes; what is due in it runs when it is due."""
        end = self.clock.monotonic() + seconds
        while self.queue and self.queue[0][0] <= end:
            due, call = self.queue.popleft()
            self.clock.advance(max(0.0, due - self.clock.monotonic()))
            call()
        self.clock.advance(end - self.clock.monotonic())

    def ask(self, of: int) -> Deny | None:
        asked: Any = SimpleNamespace(rank=of, facts=SimpleNamespace(name=CLASSES[of]))
        return self.admission.refuse(asked, _NOBODY)

    def run(self, seconds: float, lag: float, every: float = 0.001) -> Counter[int]:
        """Requests of each class in turn; how many of each were refused."""
        self.lag = lag
        shed: Counter[int] = Counter()
        for number in range(round(seconds / every)):
            of = number % 3
            shed[of] += self.ask(of) is not None
            self.answered = round(self.clock.monotonic() * self.rate)
            self.move(every)
        return shed


_NOBODY: Any = None


def test_nobody_is_refused_while_nothing_waits() -> None:
    worker = Worker()
    assert not worker.run(5.0, lag=0.0).total()
    assert worker.admission.level == 0.0


def test_a_queue_that_stands_is_answered_in_the_order_of_criticality() -> None:
    worker = Worker()
    first = worker.run(0.3, lag=0.004)
    assert first[SHEDDABLE] > 0
    assert not first[NORMAL]
    assert not first[CRITICAL]
    worker.run(1.0, lag=0.012)
    late = worker.run(0.3, lag=0.012)
    assert late[SHEDDABLE] == late[NORMAL] == 100
    assert 0 < late[CRITICAL] < 100, "some critical requests always come on"
    assert worker.admission.level == admission.MOST


def test_a_burst_is_no_queue() -> None:
    """CoDel's rule: the least wait of an interval counts, so one that is gone within the interval sheds nobody."""
    worker = Worker()
    for _ in range(20):
        assert not worker.run(0.03, lag=0.02).total()
        assert not worker.run(0.1, lag=0.0).total()


def test_a_pause_of_the_machine_on_a_quiet_server_sheds_nobody() -> None:
    worker = Worker()
    for _ in range(50):
        assert not worker.run(0.4, lag=0.01, every=0.1).total()


def test_the_level_settles_where_the_queue_is_gone_and_does_not_swing() -> None:
    """A worker that can do 40 % of what comes: its queue grows by what it lets in beyond that."""
    worker = Worker()
    backlog, capacity, levels = 0.0, 0.4, []
    for number in range(20_000):
        admitted = worker.ask(number % 3) is None
        backlog = max(0.0, backlog + admitted * 0.001 - capacity * 0.001)
        worker.lag = backlog
        worker.move(0.001)
        if number >= 5_000:
            levels.append(worker.admission.level)
    assert min(levels) > 1.6, "all sheddable and most normal requests are refused: 0.6 of the load is 1.8 classes"
    assert max(levels) < 2.3
    assert backlog < 0.02


def test_it_comes_back_by_itself_within_seconds() -> None:
    worker = Worker()
    worker.run(2.0, lag=0.02)
    assert worker.admission.level == admission.MOST
    worker.run(5.0, lag=0.0)
    assert worker.admission.level == 0.0


def test_questions_that_stand_before_the_engine_shed_all_but_critical_routes() -> None:
    worker = Worker(asking=9, rate=1000)
    first = worker.run(0.3, lag=0.0)
    assert first[SHEDDABLE] > 0
    worker.run(3.0, lag=0.0)
    late = worker.run(0.3, lag=0.0)
    assert late == {SHEDDABLE: 100, NORMAL: 100, CRITICAL: 0}
    assert worker.admission.level == admission.MOST_FOR_ENGINE
    worker.asking = 8
    worker.run(5.0, lag=0.0)
    assert worker.admission.level == 0.0


def test_an_engine_that_hardly_answers_is_for_breakers_and_failure_plans() -> None:
    worker = Worker(asking=100, rate=50)
    assert not worker.run(5.0, lag=0.0).total()


def test_questions_that_come_in_bursts_are_no_queue() -> None:
    worker = Worker(rate=1000)
    for _ in range(30):
        worker.asking = 50
        assert not worker.run(0.02, lag=0.0).total()
        worker.asking = 0
        assert not worker.run(0.08, lag=0.0).total()
    for _ in range(30):  # nothing else comes between two bursts
        worker.asking = 50
        assert worker.ask(SHEDDABLE) is None
        worker.move(0.1)


def test_an_idle_server_remembers_nothing() -> None:
    worker = Worker()
    worker.run(2.0, lag=0.02)
    worker.lag = 0.0
    worker.move(admission.FORGOTTEN + 0.1)
    assert worker.admission.level == 0.0
    assert worker.ask(SHEDDABLE) is None


def test_a_loop_that_is_stuck_counts_as_a_queue() -> None:
    """A single probe tells enough when it waited for as long as an interval."""
    worker = Worker()
    shed = worker.run(1.0, lag=0.2)
    assert shed[SHEDDABLE] > 0


@pytest.mark.parametrize(("of", "room"), [(SHEDDABLE, 16), (NORMAL, 32), (CRITICAL, 64)])
def test_checks_in_flight_leave_room_for_who_matters_more(of: int, room: int) -> None:
    worker = Worker(in_flight=64)
    worker.metrics.in_flight = room
    assert worker.ask(of) is None
    worker.metrics.in_flight = room + 1
    refused = worker.ask(of)
    assert refused is not None
    assert refused.code == "engine.overloaded"
    assert refused.reasons[0].detail


def test_shares_are_dealt_out_evenly() -> None:
    worker = Worker()
    worker.run(0.2, lag=0.004)
    level = worker.admission.level
    assert 0.0 < level < 1.0
    worker.lag = 0.0
    refused = sum(worker.ask(SHEDDABLE) is not None for _ in range(1000))
    assert refused == pytest.approx(1000 * level, abs=1)


def test_at_most_one_probe_is_under_way() -> None:
    worker = Worker(lag=10.0)
    for _ in range(1000):
        worker.ask(NORMAL)
        worker.move(0.005)
    assert len(worker.queue) == 1


def test_what_is_shed_is_counted_by_route_and_criticality() -> None:
    worker = Worker(in_flight=4)
    worker.metrics.in_flight = 100
    for of in CLASSES:
        worker.ask(of)
    page = worker.metrics.render().decode()
    for name in CLASSES.values():
        assert f'extauthz_shed_total{{criticality="{name}",route="{name}"}} 1.0' in page


def test_the_answer_is_503_and_says_when_to_come_back_not_the_same_to_everyone() -> None:
    worker = Worker(in_flight=4)
    worker.metrics.in_flight = 100
    told = set()
    for _ in range(8):
        refused = worker.ask(NORMAL)
        assert refused is not None
        answer = read(respond.deny(refused, "d" * 36, _request(), {}))
        assert (answer.status, answer.layer, answer.code) == (503, "engine", "engine.overloaded")
        told.add(answer.headers["retry-after"])
    assert told == {"1", "2", "3", "4"}


def test_other_faults_still_say_one_second() -> None:
    refused = Deny((Reason("engine.unavailable"),))
    assert read(respond.deny(refused, "d" * 36, _request(), {})).headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "normal"),
        ({"effects": ["money"]}, "critical"),
        ({"criticality": "sheddable"}, "sheddable"),
        ({"criticality": "normal", "effects": ["money"]}, "normal"),
        ({"criticality": "critical"}, "critical"),
    ],
)
def test_a_route_is_what_it_says_or_what_it_can_do(changes: dict[str, Any], expected: str) -> None:
    settings = RouteSettings.model_validate(route("any", **changes), strict=False)
    assert settings.shed_as == expected
    assert admission.NAMES[admission.RANKS[settings.shed_as]] == expected


def _request() -> Request:
    return Request(*("1", "GET", "https", "bank.example", "/", "", "HTTP/2", {}, b"", False, "", "", "", "", {}))


@pytest.mark.opa
@pytest.mark.embedded
async def test_what_is_shed_is_answered_from_memory_each_with_its_own_id(tmp_path: Path) -> None:
    """The caller learns nothing but its own decision id, in its own protocol, with the seconds dealt to it."""
    parts.require_opa()
    parts.require_embedded()
    bank = await open_bank(tmp_path, server={"admission": {"in_flight": 4}})
    bank.app._metrics.in_flight = 100
    fresh = [await bank.ask(headers={"x-extauthz-tenant": "no"}) for _ in range(4)]
    known = [await bank.ask() for _ in range(4)]
    grpc = [await bank.ask(headers={"content-type": "application/grpc"}) for _ in range(8)]
    answers = [*fresh, *known]
    ids = {one.metadata["decision_id"] for one in (*answers, *grpc)}
    assert len(ids) == 16
    for one in answers:
        assert (one.status, one.code) == (503, "engine.overloaded")
        assert one.headers["x-extauthz-decision-id"] == one.metadata["decision_id"]
        assert one.metadata["decision_id"] in one.body
    assert [one.headers["retry-after"] for one in fresh] == [one.headers["retry-after"] for one in known]
    assert {(one.status, one.headers["grpc-status"]) for one in grpc} == {(200, "14")}
    await bank.close()
    records = bank.records()
    assert {record["decision_id"] for record in records} == ids
    assert {record["code"] for record in records} == {"engine.overloaded"}
    assert all(record["result"]["reasons"][0]["detail"] for record in records)
