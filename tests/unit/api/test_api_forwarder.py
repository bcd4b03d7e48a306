"""The parent's side of the HTTP API: who is asked, what is combined, what is bounded; workers answer by a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from extauthz.api.combined import combined, objections
from extauthz.api.messages import ApiAnswer, ApiRequest, json_answer, problem
from extauthz.errors import ExtauthzError
from extauthz.supervisor import api as parent
from extauthz.supervisor.api import ApiForwarder
from extauthz.supervisor.http import Overview, application
from extauthz.transport.control import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http import HTTPStatus

STATUS: dict[str, Any] = {
    "live": "live-1",
    "candidate": "next-1",
    "phase": "percent",
    "choice": None,
    "waiting": 1,
    "dropped": 2,
    "compared": 100,
    "live_denied": 10,
    "candidate_denied": 11,
    "bound": {"max_denial_increase": 1.0, "min_decisions": 150, "window": 300.0, "to": "shadow"},
    "totals": [{"difference": "allowed_to_denied", "route": "pay", "code": "role.denied", "count": 1}],
    "differences": [{"timestamp": "2027-01-15T08:00:00.000000+00:00", "decision_id": "a"}],
}


class Fake:
    def __init__(self, answer: Callable[[ApiRequest], ApiAnswer] | None) -> None:
        self._answer = answer
        self.asked: list[ApiRequest] = []

    async def ask(self, command: str, timeout: float = 2.0, **values: Any) -> Any:
        assert command == "api"
        if self._answer is None:
            raise ControlError("api: no answer within 15 s")
        request = ApiRequest.of(json.loads(json.dumps(values["request"])))
        self.asked.append(request)
        return self._answer(request).plain()


def fake(document: Any = None, status: int = 200) -> Fake:
    return Fake(lambda _: json_answer(document if document is not None else {"ok": True}, status))


def client(*workers: Fake, unix: bool = False) -> httpx.AsyncClient:
    app = application(Overview(()), ApiForwarder(workers, unix=unix))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def test_evaluations_go_to_one_worker_in_turn() -> None:
    first, second = fake(), fake()
    async with client(first, second) as http:
        for _ in range(4):
            assert (await http.post("/access/v1/evaluation", content=b"{}")).json() == {"ok": True}
    assert [len(first.asked), len(second.asked)] == [2, 2]


async def test_a_worker_that_does_not_answer_is_passed_over() -> None:
    dead, alive = Fake(None), fake()
    async with client(dead, alive) as http:
        assert (await http.post("/access/v1/evaluations")).status_code == 200
        assert (await http.post("/access/v1/evaluations")).status_code == 200
    async with client(Fake(None), Fake(None)) as http:
        answer = await http.post("/access/v1/evaluation")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_everything_that_decides_who_asks_is_passed_on() -> None:
    worker = fake()
    async with client(worker, unix=True) as http:
        headers = [
            ("authorization", "Bearer a"),
            ("authorization", "Bearer b"),
            ("x-request-id", "r"),
            ("x-forwarded-for", "1.1.1.1"),
        ]
        await http.post("/access/v1/evaluation", content=b"body \xff", headers=headers)
    (asked,) = worker.asked
    assert asked == ApiRequest(
        "POST", "/access/v1/evaluation", ("Bearer a", "Bearer b"), "", "r", unix=True, deep=False, body=b"body \xff"
    )  # fmt: skip


async def test_a_request_id_comes_back_unless_it_is_absurd() -> None:
    async with client(fake()) as http:
        answer = await http.post("/access/v1/evaluation", headers={"x-request-id": "x" * 512})
        assert answer.headers["x-request-id"] == "x" * 512
        answer = await http.post("/access/v1/evaluation", headers={"x-request-id": "x" * 513})
        assert "x-request-id" not in answer.headers


async def test_too_much_at_once_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "MAX_UNDER_WAY", 0)
    worker = fake()
    async with client(worker) as http:
        assert (await http.post("/access/v1/evaluation")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200  # probes are always answered
    assert worker.asked == []


async def test_a_decision_is_looked_for_in_memory_then_in_files() -> None:
    def knows(request: ApiRequest) -> ApiAnswer:
        return json_answer({"source": "memory"})

    def only_deep(request: ApiRequest) -> ApiAnswer:
        return json_answer({"source": "records"}) if request.deep else problem(404, "no")  # type: ignore[arg-type]

    async with client(Fake(only_deep), Fake(knows)) as http:
        assert (await http.get("/decisions/x")).json() == {"source": "memory"}
    first, second = Fake(only_deep), Fake(only_deep)
    async with client(first, second) as http:
        assert (await http.get("/decisions/x")).json() == {"source": "records"}
    assert [request.deep for request in (*first.asked, *second.asked)].count(True) == 1
    async with client(fake("no token", 401), fake("no token", 401)) as http:
        assert (await http.get("/decisions/x")).status_code == 401


async def test_the_status_of_all_workers_is_one() -> None:
    other = {**STATUS, "compared": 60, "live_denied": 0, "candidate_denied": 3, "dropped": 0}
    other["differences"] = [{"timestamp": "2027-01-15T08:00:01.000000+00:00", "decision_id": "b"}]
    async with client(fake(STATUS), fake(other)) as http:
        seen = (await http.get("/policy/rollout")).json()
    assert seen["workers"] == 2
    assert (seen["compared"], seen["live_denied"], seen["candidate_denied"]) == (160, 10, 14)
    assert seen["increase"] == 2.5
    assert seen["dropped"] == 2
    assert seen["totals"] == [{"difference": "allowed_to_denied", "route": "pay", "code": "role.denied", "count": 2}]
    assert [one["decision_id"] for one in seen["differences"]] == ["b"]  # as many as one worker keeps
    assert seen["agreed"] is True


async def test_a_choice_goes_to_every_worker_once_nothing_speaks_against_it() -> None:
    good = {**STATUS, "compared": 200, "candidate_denied": 10}

    def answer(request: ApiRequest) -> ApiAnswer:
        return json_answer(good if request.method == "GET" else {"phase": "promoted", "warning": ""})

    first, second = Fake(answer), Fake(answer)
    async with client(first, second) as http:
        done = await http.post("/policy/rollout", content=b'{"action":"promote"}')
    assert done.json()["phase"] == "promoted"
    for worker in (first, second):
        assert [(request.method, request.body) for request in worker.asked] == [
            ("GET", b""),
            ("POST", b'{"action":"promote"}'),
        ]


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([STATUS], "only 100 decisions were compared"),
        ([STATUS, {**STATUS, "candidate_denied": 40}], "percentage points more"),
        ([STATUS, {**STATUS, "phase": "shadow"}], "do not agree"),
        ([{"live": "l", "candidate": None}], "no candidate"),
    ],
)
async def test_a_promotion_is_refused_with_every_reason(statuses: list[Any], words: str) -> None:
    workers = [fake(status) for status in statuses]
    async with client(*workers) as http:
        refused = await http.post("/policy/rollout", content=b'{"action":"promote"}')
    assert refused.status_code == 409
    assert words in refused.text
    assert all(request.method == "GET" for worker in workers for request in worker.asked)


async def test_a_rollback_needs_no_reasons_and_force_asks_for_none() -> None:
    for path, body in (
        ("/policy/rollout", b'{"action":"rollback"}'),
        ("/policy/rollout?force=true", b'{"action":"promote"}'),
    ):
        worker = fake(STATUS)
        async with client(worker) as http:
            assert (await http.post(path, content=body)).status_code == 200
        assert worker.asked[-1].method == "POST"


async def test_a_worker_that_misses_a_choice_is_told() -> None:
    def refuses(request: ApiRequest) -> ApiAnswer:
        return json_answer(STATUS) if request.method == "GET" else problem(409, "changed")  # type: ignore[arg-type]

    async with client(fake(STATUS), Fake(refuses)) as http:
        assert (await http.post("/policy/rollout", content=b'{"action":"rollback"}')).status_code == 409
    async with client(fake(STATUS), Fake(None)) as http:
        assert (await http.post("/policy/rollout", content=b'{"action":"rollback"}')).status_code == 503
    async with client(fake("who", 403), fake("who", 403)) as http:
        assert (await http.post("/policy/rollout", content=b"nonsense")).status_code == 403


def test_workers_without_a_candidate_yet_do_not_break_the_sum() -> None:
    seen = combined([STATUS, {"live": "live-1", "candidate": None}])
    assert seen["agreed"] is False
    assert seen["compared"] == 100
    assert "do not agree" in objections(seen)[0]
    assert combined([{"live": "l", "candidate": None}, STATUS])["candidate"] is None


def test_what_is_no_request_is_refused() -> None:
    whole = ApiRequest("GET", "/x").plain()
    for broken in ({}, {**whole, "body": "%"}, {**whole, "more": 1}, {**whole, "authorization": None}):
        with pytest.raises(ExtauthzError):
            ApiRequest.of(broken)


def test_an_answer_travels_unchanged() -> None:
    status: HTTPStatus | int = 418
    answer = ApiAnswer(status, b"\xff", "a/b", {"x": "y"})
    assert ApiAnswer.of(json.loads(json.dumps(answer.plain()))) == answer
