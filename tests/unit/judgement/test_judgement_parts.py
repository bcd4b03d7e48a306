"""The parts of asynchronous judgement one by one: entries, intake, judge, quarantines in memory, alerts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from extauthz.clock import ManualClock
from extauthz.errors import ExtauthzError
from extauthz.judgement.alerts import Alerts
from extauthz.judgement.confined import Confined
from extauthz.judgement.entry import Entry, Reads
from extauthz.judgement.intake import Intake
from extauthz.judgement.judge import Judge, Judged
from extauthz.judgement.quarantine import OPERATOR, Key, Quarantine, key_of
from extauthz.judgement.queue import State, Waiting
from extauthz.judgement.settings import AlertSettings, JudgementSettings, QuarantineRule
from extauthz.judgement.sqlite import SqliteQueue
from extauthz.judgement.verdict import Verdict
from extauthz.model import Subject, Workload
from extauthz.outbound import Outbound
from extauthz.store.store import StoreError
from extauthz.tasks import Tasks
from tests.support.checks import parsed
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from extauthz.judgement.queue import Queue

SUBJECT = Subject(
    "user",
    "alice",
    "jwt",
    "https://issuer.example",
    ("api",),
    frozenset({"b", "a"}),
    claims={"tenant": "acme", "n": 2**60, "deep": [{"x": None}]},
    digest="00112233445566aa",
    act=("spiffe://a/b",),
    ancestors=("r",),
)
CALLER = Workload("spiffe://bank.example/a", "bank.example", predecessors=("p",))
HEADERS = {"authorization": "Bearer s3cr3t", "cookie": "s3cr3t", "x-wanted": "1", "x-other": "2", "x-api-key": "s3cr3t"}


def entry(name: str = "d-1", kept: Reads | None = None, **request: Any) -> Entry:
    return Entry(
        decision_id=name,
        started=1.0,
        accepted=2.0,
        route="hint",
        request=parsed("POST", "/hint?q=1", headers=HEADERS, body="text", **request),
        variables={"tenant": "acme"},
        resource_id="7",
        workload=CALLER,
        subject=SUBJECT,
        kept=kept or Reads(frozenset({"x-wanted", "authorization", "x-api-key"}), query=True, body=True),
        trace_id="0" * 32,
    )


def test_an_entry_comes_back_as_it_was_without_what_nobody_reads() -> None:
    data = entry().dump(100_000)
    assert data is not None
    assert b"s3cr3t" not in data
    again = Entry.load(data)
    assert (again.subject, again.workload, again.variables) == (SUBJECT, CALLER, {"tenant": "acme"})
    assert again.request.headers == {"x-wanted": "1"}
    assert (again.request.query, again.request.body, again.request.path) == ("q=1", b"text", "/hint")
    assert again.dump(100_000) == data
    bare = Entry.load(entry(kept=Reads()).dump(100_000) or b"")
    assert (bare.request.headers, bare.request.query, bare.request.body) == ({}, "", b"")
    assert bare.kept.within(again.kept)
    assert not again.kept.within(bare.kept)


@pytest.mark.parametrize("claims", [{"n": 2**70}, {"t": "\ud800"}])
def test_what_cannot_be_kept_is_not_kept(claims: dict[str, Any]) -> None:
    assert replace(entry(), subject=replace(SUBJECT, claims=claims)).dump(100_000) is None
    assert entry().dump(100) is None


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null\n", b"[1]", b'{"v":2}\n', b"\xff\n", b'{"v":1,"kept":{},"trace":[],"request":{}}\n']
)
def test_an_entry_that_cannot_be_read_is_one_error(data: bytes) -> None:
    with pytest.raises(ExtauthzError):
        Entry.load(data)
    with pytest.raises(ExtauthzError):
        Verdict.load(data)
    with pytest.raises(ExtauthzError):
        Quarantine.load(data)


def test_nobody_is_struck_for_what_was_not_proven() -> None:
    for by in ("token", "tenant"):
        rule = QuarantineRule(by=by)
        assert key_of(rule, "hint", CALLER, None) is None
        assert key_of(rule, "hint", CALLER, replace(SUBJECT, digest="", claims={"tenant": 7})) is None
    assert key_of(QuarantineRule(by="workload"), "hint", None, SUBJECT) is None
    key = key_of(QuarantineRule(by="tenant", scope="everywhere"), "hint", CALLER, SUBJECT)
    assert key == Key("tenant", "acme", "https://issuer.example", "")
    keyed = replace(SUBJECT, issuer="", credential="api_key")
    assert key_of(QuarantineRule(by="tenant"), "hint", CALLER, keyed) == Key("tenant", "acme", "api_key", "hint")


class Stub:
    """A queue whose answers a test gives."""

    def __init__(self) -> None:
        self.puts: list[list[str]] = []
        self.gone: list[str] = []
        self.fails = False
        self.room = 1000
        self.gate = asyncio.Event()
        self.gate.set()

    async def put(self, entries: list[Waiting]) -> int:
        self.puts.append([entry.id for entry in entries])
        await self.gate.wait()
        if self.fails:
            raise StoreError("away")
        return min(len(entries), self.room)

    async def withdraw(self, ids: list[str]) -> None:
        self.gone += ids


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


def waiting(name: str) -> Waiting:
    return Waiting(name, b"body", 0.0)


async def test_while_one_commit_runs_the_next_ones_gather(tasks: Tasks) -> None:
    queue, arrived = Stub(), []
    intake = Intake(queue, ManualClock(), lambda: arrived.append(1))
    intake.start(tasks)
    queue.gate.clear()
    asked = [tasks.start(intake.put(waiting("first"), 10), "first")]
    await eventually(lambda: len(queue.puts) == 1)
    asked += [tasks.start(intake.put(waiting(f"n{number}"), 10), "next") for number in range(20)]
    await asyncio.sleep(0)
    queue.gate.set()
    assert await asyncio.gather(*asked) == [True] * 21
    assert [len(put) for put in queue.puts] == [1, 20]
    assert len(arrived) == 2


async def test_who_stops_waiting_is_told_no_and_its_entry_is_withdrawn(tasks: Tasks) -> None:
    queue = Stub()
    intake = Intake(queue, ManualClock(), lambda: None)
    intake.start(tasks)
    queue.gate.clear()
    assert await intake.put(waiting("late"), 0.01) is False
    queue.gate.set()
    await eventually(lambda: queue.gone == ["late"])
    assert await intake.put(waiting("next"), 1) is True


async def test_a_full_queue_takes_the_first_and_refuses_the_rest(tasks: Tasks) -> None:
    queue = Stub()
    queue.room = 1
    intake = Intake(queue, ManualClock(), lambda: None)
    asked = [tasks.start(intake.put(waiting(name), 10), name) for name in "abc"]
    await asyncio.sleep(0)
    intake.start(tasks)
    assert await asyncio.gather(*asked) == [True, False, False]
    assert queue.gone == []


async def test_after_a_failure_nobody_waits_and_what_may_be_there_is_withdrawn_first(tasks: Tasks) -> None:
    queue, clock = Stub(), ManualClock()
    intake = Intake(queue, clock, lambda: None)
    intake.start(tasks)
    queue.fails = True
    assert await intake.put(waiting("a"), 5) is False
    queue.fails = False
    assert await intake.put(waiting("b"), 5) is False
    assert queue.puts == [["a"]]
    clock.advance(1.1)
    assert await intake.put(waiting("c"), 5) is True
    assert queue.gone == ["a"]
    assert queue.puts == [["a"], ["c"]]


class Desk:
    """Judges as a test says, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Verdict] = []
        self.hears = True
        self.judges = True

    async def judge(self, found: Entry) -> Judged | None:
        return Judged(self.unjudged(found, "", "")) if self.judges else None

    def unjudged(self, found: Entry, code: str, detail: str) -> Verdict:
        return Verdict(found.decision_id, "1", "hint", "reported" if code else "allowed", 3.0, 1.0, code, detail)

    async def tell(self, found: Entry | None, verdict: Verdict, quarantine: Quarantine | None) -> bool:
        del found, quarantine
        self.told.append(verdict)
        return self.hears


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[tuple[SqliteQueue, ManualClock, JudgementSettings]]:
    clock = ManualClock(100.0)
    settings = JudgementSettings(queue={"kind": "sqlite", "path": str(tmp_path / "q.sqlite")})
    made = SqliteQueue(settings.queue, settings, clock)  # type: ignore[arg-type]  # SQLite's settings
    yield made, clock, settings
    await made.close()


def judge_of(queue: Queue, settings: JudgementSettings, clock: ManualClock, *, busy: bool = False) -> Judge:
    return Judge(queue, settings, clock, busy=lambda: busy, begun=lambda _: None, random=lambda: 0.0)


async def put(queue: SqliteQueue, clock: ManualClock, *names: str) -> None:
    bodies = [replace(entry(name), accepted=clock.now()).dump(100_000) or b"" for name in names]
    rows = zip(names, bodies, strict=True)
    await queue.put([Waiting(name, body, clock.now()) for name, body in rows])


async def test_what_was_not_told_is_told_again_with_the_same_verdict(queue: Any, tasks: Tasks) -> None:
    store, clock, settings = queue
    judge, desk = judge_of(store, settings, clock, busy=True), Desk()
    await put(store, clock, "d-1")
    desk.hears = False
    judge.use(desk)
    judge.start(tasks)
    await eventually(lambda: len(desk.told) == 1)
    assert await store.ledger() == []
    desk.hears = True
    clock.advance(31)
    await eventually(lambda: len(desk.told) == 2)
    assert desk.told[0] == desk.told[1]
    await eventually(lambda: told(store, 1))


async def told(store: SqliteQueue, count: int) -> bool:
    return len(await store.ledger()) == count


async def test_what_cannot_be_read_is_reported_and_does_not_stop_the_rest(queue: Any, tasks: Tasks) -> None:
    store, clock, settings = queue
    judge, desk = judge_of(store, settings, clock), Desk()
    await store.put([Waiting("broken", b"\xff", clock.now())])
    await put(store, clock, "d-1")
    judge.use(desk)
    judge.start(tasks)
    await eventually(lambda: told(store, 2))
    assert {verdict.outcome for verdict in desk.told} == {"reported", "allowed"}


async def test_a_request_that_ends_its_judges_is_reported_in_the_end(queue: Any, tasks: Tasks) -> None:
    store, clock, settings = queue
    await put(store, clock, "poison")
    for _ in range(5):  # claimed, and never heard of again
        assert len(await store.claim(1)) == 1
        clock.advance(31)
    judge, desk = judge_of(store, settings, clock), Desk()
    judge.use(desk)
    judge.start(tasks)
    await eventually(lambda: told(store, 1))
    assert (desk.told[0].outcome, desk.told[0].code) == ("reported", "engine.internal")


async def test_a_judge_that_closes_gives_back_what_it_held(queue: Any, tasks: Tasks) -> None:
    store, clock, settings = queue

    class Stuck(Desk):
        async def judge(self, found: Entry) -> Judged | None:
            del found
            await asyncio.Event().wait()
            return None

    await put(store, clock, "d-1")
    judge = judge_of(store, settings, clock)
    judge.use(Stuck())
    judge.start(tasks)
    await eventually(lambda: len(judge._held) == 1)
    await tasks.close()
    await judge.close()
    (claim,) = await store.claim(1)
    assert claim.begun == 1


async def test_quarantines_in_memory_follow_the_store() -> None:
    clock = ManualClock(100.0)
    confined = Confined(clock)
    made = Quarantine(Key("tenant", "acme"), 100.0, 160.0, OPERATOR)

    class Store:
        away = True

        async def state(self) -> State:
            if self.away:
                raise StoreError("away")
            return State(0, None, 1)

        async def quarantines(self) -> list[Quarantine]:
            return [made]

    store = Store()
    confined.guard(["hint"], everywhere=False)
    await confined.first(store)  # type: ignore[arg-type]  # what is asked of it is there
    unknown = confined.refuse("hint", CALLER, SUBJECT)
    assert unknown is not None
    assert unknown.code == "engine.queue_full"
    assert confined.refuse("other", CALLER, SUBJECT) is None
    store.away = False
    await confined.first(store)  # type: ignore[arg-type]  # the same
    refused = confined.refuse("other", CALLER, SUBJECT)
    assert refused is not None
    assert refused.code == "attribute.tenant_quarantined"
    assert confined.numbers == {"workload": 0, "token": 0, "tenant": 1}
    clock.advance(61)
    assert confined.refuse("other", CALLER, SUBJECT) is None
    await confined.follow(store, State(0, None, 1))  # type: ignore[arg-type]  # the same
    assert confined.numbers["tenant"] == 0


@pytest.mark.parametrize(("answers", "fate"), [([500, 204], "sent"), ([500, 500], "dropped")])
async def test_alerts_are_tried_again_and_then_dropped(tasks: Tasks, answers: list[int], fate: str) -> None:
    asked: list[bytes] = []
    fates: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(answers[len(asked) - 1])

    url = "https://alerts.bank.example/x"
    outbound = Outbound([url], transport=httpx.MockTransport(answer))
    alerts = Alerts(AlertSettings(url=url, attempts=2), outbound, counted=fates.append, random=lambda: 0.0)
    alerts.start(tasks)
    alerts.add({"event": "judgement.violation"})
    await eventually(lambda: fates == [fate])
    assert asked == [b'{"event":"judgement.violation"}'] * 2
    await alerts.close()


async def test_alerts_that_do_not_fit_are_dropped_and_counted() -> None:
    fates: list[str] = []
    settings = AlertSettings(url="https://alerts.bank.example/x", waiting=2)
    alerts = Alerts(settings, Outbound([settings.url]), counted=fates.append, random=lambda: 0.0)
    for _ in range(3):
        alerts.add({})
    assert fates == ["dropped"]
    await alerts.close()
    assert fates == ["dropped"] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"lease": "1s", "timeout": "1s"},
        {"queue": {"kind": "memory"}},
        {"alert": {"url": "http://alerts.bank.example/x"}},
        {"alert": {"url": "ftp://alerts.bank.example/x"}},
        {"alert": {"url": "https://user:secret@alerts.bank.example/x"}},
        {"max_waiting": 0},
    ],
)
def test_settings_that_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        JudgementSettings(**{"queue": {"kind": "sqlite", "path": "q"}, **change})
    assert "secret" not in str(refused.value.errors(include_input=False))  # type: ignore[attr-defined]  # pydantic's
