"""Which policy answers, what is compared, and when a candidate is taken back: on engines that answer by a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.clock import ManualClock
from extauthz.errors import EngineFault, ExtauthzError
from extauthz.model import Allow, Deny, Obligations, Reason
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.projection import Analysis, projector
from extauthz.policy.rollout import Case, Rollout
from extauthz.policy.rollout_settings import CandidateSettings
from extauthz.policy.rollout_state import Choice, Choices, Phase
from extauthz.tasks import Tasks
from extauthz.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from extauthz.model import Decision

ALLOW = Allow()
NO = Deny((Reason("role.denied"),))
TENANT = Deny((Reason("attribute.tenant_mismatch", detail="token eyJhbGciOiJub25lIn0.e30.sig"),))
MASKED = Allow(Obligations(mask=("iban",)))
FAULT = EngineFault("engine.invalid_result", "reasons is not a list")
ALWAYS, NEVER = (lambda: 0.0), (lambda: 0.999999)


class Table:
    """An engine: subject id → decision or fault; `asked` keeps the inputs."""

    def __init__(self, revision: str, **answers: Decision | EngineFault) -> None:
        self.revision = revision
        self.answers = answers
        self.asked: list[Query] = []
        self.up = True

    async def evaluate(self, query: Query) -> Evaluation:
        self.asked.append(query)
        await asyncio.sleep(0)
        answer = next((answer for name, answer in self.answers.items() if name.encode() in query.input), ALLOW)
        if isinstance(answer, EngineFault):
            raise answer
        return Evaluation(answer, self.revision)

    async def ready(self) -> bool:
        return self.up

    async def close(self) -> None:
        self.up = False


class Lines:
    """In place of the recorder."""

    def __init__(self) -> None:
        self.added: list[dict[str, Any]] = []

    def add(self, comparison: dict[str, Any]) -> None:
        self.added.append(comparison)


class Stand:
    def __init__(self, directory: Path, tasks: Tasks, **changes: Any) -> None:
        self.live, self.candidate = Table("live-1"), Table("next-1")
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.metrics.know(["pay", "read"])
        self.lines = Lines()
        self.choices = Choices(directory / "rollout.json")
        self.random = ALWAYS
        self.tasks = tasks
        analysis = Analysis("authz/decision", (("subject", "id"), ("resource", "amount")))
        self.rollout = Rollout(
            live=self.live,
            candidate=self.candidate,
            settings=CandidateSettings(path="next", **{"sample": 100, **changes}),
            projectors={"authz/decision": projector(analysis)},
            clock=self.clock,
            metrics=self.metrics,
            recorder=self.lines,  # type: ignore[arg-type]
            choices=self.choices,
            random=lambda: self.random(),  # noqa: PLW0108 - a test may set another one
        )
        self.rollout.start(tasks)

    async def ask(self, who: str, *, route: str = "pay", tenant: str = "acme", wait: bool = True) -> Decision:
        document = question(who, tenant)
        query = Query("authz/decision", b'{"live":"%b"}' % who.encode(), 5.0, self.clock.monotonic() + 0.5)
        try:
            return (await self.rollout.evaluate(query, Case(route, document, f"id-{who}"))).decision
        finally:
            if wait:
                await self.settled()

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        while self.rollout.numbers()["waiting"]:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0)

    def compared(self, difference: str, code: str = "", route: str = "pay") -> float:
        labels = {"route": route, "difference": difference, "code": code}
        return self.metrics.registry.get_sample_value("extauthz_candidate_comparisons_total", labels) or 0.0


def question(who: str, tenant: str = "acme") -> Mapping[str, Any]:
    return {
        "subject": {"type": "user", "id": who, "properties": {"tenant": tenant}},
        "resource": {"type": "transfer", "id": "T-1", "amount": 5, "secret": "x"},
    }


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    running = Tasks()
    yield running
    await running.close()


@pytest.fixture
def stand(tmp_path: Path, tasks: Tasks) -> Any:
    return lambda **changes: Stand(tmp_path, tasks, **changes)


async def test_in_shadow_nobody_gets_the_candidates_answer(stand: Any) -> None:
    it = stand()
    it.live.answers = {"bob": NO}
    it.candidate.answers = {"alice": TENANT, "carol": FAULT, "dave": MASKED}
    assert await it.ask("alice") is ALLOW
    assert await it.ask("bob") is NO
    assert await it.ask("carol") is ALLOW
    assert await it.ask("dave") is ALLOW
    assert await it.ask("erin") is ALLOW
    assert it.compared("allowed_to_denied", "attribute.tenant_mismatch") == 1
    kinds = {row["difference"]: row["code"] for row in it.rollout.status()["totals"]}
    assert kinds == {
        "allowed_to_denied": "attribute.tenant_mismatch",
        "denied_to_allowed": "role.denied",
        "fault": "engine.invalid_result",
        "obligations": "",
    }
    assert it.compared("same") == 1
    assert it.compared("denied_to_allowed", "role.denied") == 1
    assert it.rollout.status()["compared"] == 5


async def test_a_difference_is_recorded_with_both_outcomes_and_no_secret(stand: Any) -> None:
    it = stand()
    it.candidate.answers = {"alice": TENANT}
    await it.ask("alice")
    (line,) = it.lines.added
    assert line == it.rollout.status()["differences"][0]
    assert line["type"] == "comparison"
    assert line["decision_id"] == "id-alice"
    assert (line["route"], line["path"]) == ("pay", "authz/decision")
    assert line["subject"] == {"type": "user", "id": "alice"}
    assert line["tenant"] == "acme"
    assert line["live"] == {"allow": True, "revision": "live-1", "masked": []}
    assert line["candidate"]["code"] == "attribute.tenant_mismatch"
    assert "eyJ" not in str(line)
    assert line["answered_by"] == "live"


async def test_the_candidate_is_asked_its_own_projection(stand: Any) -> None:
    it = stand()
    await it.ask("alice")
    assert it.candidate.asked[0].input == b'{"resource":{"amount":5},"subject":{"id":"alice"}}'
    assert it.live.asked[0].input == b'{"live":"alice"}'


async def test_only_the_sample_is_compared(stand: Any) -> None:
    it = stand(sample=50)
    it.random = NEVER
    await it.ask("alice")
    assert it.candidate.asked == []
    it.random = lambda: 0.49
    await it.ask("alice")
    assert len(it.candidate.asked) == 1


async def test_a_full_queue_drops_and_never_waits(stand: Any) -> None:
    it = stand(queue=2, concurrency=1)
    for _ in range(6):
        assert await it.ask("alice", wait=False) is ALLOW
        assert it.rollout.numbers()["waiting"] <= 3
    gone = asyncio.Event()

    async def forever(query: Query) -> Evaluation:
        await gone.wait()
        return Evaluation(ALLOW, "next-1")

    await it.settled()
    it.candidate.evaluate = forever
    before = it.rollout.numbers()["dropped"]
    for _ in range(10):
        assert await it.ask("alice", wait=False) is ALLOW
    assert it.rollout.numbers()["dropped"] - before == 7  # one is asked, two wait
    gone.set()
    await it.settled()


async def test_a_live_fault_is_the_answer_and_is_compared(stand: Any) -> None:
    it = stand()
    it.live.answers = {"alice": EngineFault("engine.undefined")}
    with pytest.raises(EngineFault, match=r"engine\.undefined"):
        await it.ask("alice")
    assert it.compared("live_fault", "engine.undefined") == 1


async def test_a_share_is_always_the_same_subjects_and_grows_without_losing_one(stand: Any) -> None:
    people = [f"user-{number}" for number in range(400)]

    async def chosen(percent: float, **more: Any) -> set[str]:
        it = stand(mode="percent", percent=percent, sample=0.01, rollback={"min_decisions": 10_000}, **more)
        it.random = NEVER
        it.candidate.answers = dict.fromkeys(people, NO)
        return {who for who in people if await it.ask(who) is NO}

    small, again, large, everybody = await chosen(10), await chosen(10), await chosen(40), await chosen(100)
    assert small == again
    assert small < large < everybody
    assert everybody == set(people)
    assert 20 <= len(small) <= 65
    assert await chosen(10, by="tenant") in (set(), set(people))  # one tenant: all of it or nothing


async def test_tenants_and_routes_bound_who_takes_part(stand: Any) -> None:
    it = stand(mode="percent", percent=100, tenants=("acme",), routes=("pay",))
    it.candidate.answers = {"alice": NO}
    assert await it.ask("alice") is NO
    assert await it.ask("alice", tenant="globex") is ALLOW
    assert await it.ask("alice", route="read") is ALLOW
    assert len(it.candidate.asked) == 1
    assert it.compared("same", route="read") == 0


async def test_who_has_no_name_stays_with_the_live_policy(stand: Any) -> None:
    it = stand(mode="percent", percent=100)
    query = Query("authz/decision", b"{}", 5.0, 0.5)
    for document in ({}, {"subject": "x"}, {"subject": {"id": 5}}, {"subject": {"id": ""}}):
        await it.rollout.evaluate(query, Case("pay", document, "id"))
    assert [query.input for query in it.live.asked[:4]] == [b"{}"] * 4


async def test_the_live_policy_answers_in_the_place_of_a_candidate_that_has_no_answer(stand: Any) -> None:
    it = stand(mode="percent", percent=100)
    it.candidate.answers = {"alice": FAULT}
    assert await it.ask("alice") is ALLOW
    assert it.candidate.asked[0].deadline == pytest.approx(0.25)  # half of the time is left for the live policy
    assert it.compared("fault", "engine.invalid_result") == 1
    assert it.lines.added[0]["answered_by"] == "live"
    assert it.metrics.registry.get_sample_value("extauthz_candidate_answers_total", {"decision": "fault"}) == 1


async def test_a_candidate_that_denies_too_much_is_taken_back_at_once(
    stand: Any, caplog: pytest.LogCaptureFixture
) -> None:
    it = stand(mode="percent", percent=100, rollback={"max_denial_increase": 5, "min_decisions": 20, "window": "60s"})
    it.candidate.answers = {"bad": NO}
    for _ in range(18):
        assert await it.ask("good") is ALLOW
    assert await it.ask("bad-1") is NO
    assert it.rollout.phase is Phase.PERCENT  # 1 of 19: too few to say
    assert await it.ask("bad-2") is NO
    assert it.rollout.phase is Phase.SHADOW
    assert await it.ask("bad-3") is ALLOW
    assert it.metrics.registry.get_sample_value("extauthz_candidate_rollbacks_total") == 1
    assert "is rolled back from percent to shadow" in caplog.text
    choice = it.rollout.status()["choice"]
    assert choice["by"] == "automatic"
    assert "denied 2 of 20" in choice["why"]
    while it.choices.read("live-1", "next-1") is None:  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.001)
    assert it.rollout.status()["configured"] == "percent"


async def test_a_rollback_may_switch_the_candidate_off(stand: Any) -> None:
    it = stand(mode="percent", percent=100, rollback={"min_decisions": 1, "to": "off"})
    it.candidate.answers = {"bad": NO}
    await it.ask("bad")
    assert it.rollout.phase is Phase.OFF
    asked = len(it.candidate.asked)
    assert await it.ask("bad") is ALLOW
    assert len(it.candidate.asked) == asked


async def test_a_shadow_is_not_taken_back_but_says_so(stand: Any) -> None:
    it = stand(rollback={"min_decisions": 1})
    it.candidate.answers = {"bad": NO}
    await it.ask("bad")
    assert it.rollout.phase is Phase.SHADOW
    assert it.rollout.status()["choice"] is None
    assert it.rollout.status()["candidate_denied"] == 1


async def test_a_promoted_candidate_is_the_policy_and_can_still_be_taken_back(stand: Any) -> None:
    it = stand(routes=("read",), rollback={"min_decisions": 5})
    it.candidate.answers = {"bad": NO, "broken": FAULT}
    warning = await it.rollout.choose(Choice("live-1", "next-1", Phase.PROMOTED, "promote", "by ops"))
    assert warning == ""
    assert it.rollout.revision == "next-1"
    assert await it.ask("alice") is ALLOW  # routes no longer matter: it is the policy
    assert len(it.candidate.asked) == 1
    with pytest.raises(EngineFault, match="invalid_result"):
        await it.ask("broken")
    it.candidate.up = False
    assert not await it.rollout.ready()
    for _ in range(3):
        await it.ask("bad")
    assert it.rollout.phase is Phase.SHADOW
    assert it.rollout.revision == "live-1"
    assert await it.rollout.ready()


async def test_a_choice_for_other_policies_is_refused(stand: Any) -> None:
    it = stand()
    with pytest.raises(ExtauthzError, match="not the ones"):
        await it.rollout.choose(Choice("live-0", "next-1", Phase.PROMOTED, "promote"))
    assert it.rollout.phase is Phase.SHADOW


async def test_another_workers_choice_is_taken_from_the_file(stand: Any) -> None:
    it = stand(mode="percent", percent=100)
    it.choices.write(Choice("live-1", "next-1", Phase.OFF, "rollback", "by ops"))
    await it.rollout.load()
    assert it.rollout.phase is Phase.OFF
    await it.rollout.choose(None)
    assert it.rollout.phase is Phase.PERCENT
    assert it.choices.read("live-1", "next-1") is None
    it.choices.write(Choice("live-0", "next-1", Phase.OFF, "rollback", "for other policies"))
    await it.rollout.load()
    assert it.rollout.phase is Phase.PERCENT


async def test_the_candidate_goes_with_the_rollout(stand: Any) -> None:
    it = stand()
    await it.rollout.close()
    assert not it.candidate.up
    assert it.live.up
