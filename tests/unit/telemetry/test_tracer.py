"""Spans: which Checks leave some, what stands in them, and what happens when nobody takes them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.errors import OutboundError
from extauthz.model import Allow, Deny, Reason, Subject, Workload, deny
from extauthz.tasks import Tasks
from extauthz.telemetry import spans
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.recorder import Recorder
from extauthz.telemetry.settings import RecordSettings, TraceSettings
from extauthz.telemetry.tracer import Tracer
from extauthz.telemetry.trail import ExchangeFacts, RouteFacts, Stage, Trail
from tests.support.attribute_questions import request

PARENT = "b7ad6b7169203331"
URL = "http://127.0.0.1:4318/v1/traces"


@dataclass
class Post:
    """`answer`: a status, or what is raised."""

    answer: int | Exception = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def send(self, method: str, url: str, **more: Any) -> Any:
        assert (method, url, more["headers"]) == ("POST", URL, {"content-type": "application/json"})
        self.bodies.append(orjson.loads(more["content"]))
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(status=self.answer)

    async def close(self) -> None:
        self.closed = True

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [one for body in self.bodies for one in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def tracer(post: Post, metrics: Metrics | None = None, **settings: Any) -> Tracer:
    given = TraceSettings.model_validate({"endpoint": URL, "interval": "10ms", **settings})
    return Tracer(given, post, metrics or Metrics(), resource={"zone": "edge"}, version="0.1.0")


def trail(number: int = 1, flags: str = "01", decision: Allow | Deny | None = None) -> Trail:
    made = Trail(1_800_000_000.25)
    header = {"traceparent": f"00-{number:032x}-{PARENT}-{flags}"} if number else {}
    made.describe(request(b"", header))
    made.decision = decision or Allow()
    made.ns[Stage.PARSE], made.ns[Stage.POLICY] = 1000, 5000
    return made


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def read(made: Trail) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(b"[" + spans.spans(made) + b"]")
    return found


def said(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_stages_follow_each_other_within_their_check() -> None:
    made = trail(7)
    made.ns[Stage.EXCHANGE], made.exchange_cached = 700, False
    check, parse, policy, exchange = read(made)
    begin = 1_800_000_000_250_000_000
    times = [(int(one["startTimeUnixNano"]) - begin, int(one["endTimeUnixNano"]) - begin) for one in read(made)]
    assert times == [(0, 6700), (0, 1000), (1000, 6000), (6000, 6700)]
    assert [one["name"] for one in (parse, policy, exchange)] == [
        f"extauthz.{name}" for name in ("parse", "policy", "exchange")
    ]
    assert [one["kind"] for one in (check, parse, policy, exchange)] == [2, 1, 1, 3]
    assert {one["traceId"] for one in (check, parse)} == {f"{7:032x}"}
    assert (check["parentSpanId"], parse["parentSpanId"]) == (PARENT, check["spanId"])
    assert made.continued(Stage.EXCHANGE) == f"00-{7:032x}-{exchange['spanId']}-01"


def test_an_answer_is_no_error_and_a_fault_is() -> None:
    refused = read(trail(decision=deny("token.expired")))[0]
    assert "status" not in refused
    assert said(refused)["extauthz.code"] == "token.expired"
    fault = read(trail(decision=deny("engine.unavailable")))[0]
    assert (fault["status"], said(fault)["extauthz.layer"]) == ({"code": 2}, "engine")
    cancelled = trail()
    cancelled.decision = None
    assert said(read(cancelled)[0])["extauthz.code"] == "engine.internal"


@given(st.text(max_size=300), st.text(max_size=300))
def test_nothing_of_the_caller_or_its_token_is_in_a_span(one: str, two: str) -> None:
    secret = "s3cret-" + "x" * 20
    made = trail(decision=Deny((Reason(f"role.{one}", detail=secret + one),)))
    made.subject = Subject("user", secret, "jwt", token_id=secret, digest=secret, claims={"a": secret})
    made.workload, made.path, made.host, made.source = Workload(secret, secret), secret, secret, secret
    made.exchange, made.projected, made.resource_id = ExchangeFacts(*[secret] * 5), secret.encode(), secret
    made.revision = two
    assert secret.encode() not in spans.spans(made)
    assert read(made)[0]["name"] == "Check none"


async def test_callers_decide_and_else_the_trace_id_does() -> None:
    every, none, own = tracer(Post(), ratio=1), tracer(Post(), ratio=0), tracer(Post(), ratio=1, parent="ratio")
    for made, chosen, expected in (
        (trail(1), every, True),
        (trail(1, "00"), every, False),
        (trail(1), none, True),
        (trail(0), every, True),
        (trail(0), none, False),
        (trail(1, "00"), own, True),
        (trail(1), tracer(Post(), ratio=0, parent="ratio"), False),
    ):
        chosen.add(made)
        assert made.sampled is expected
    half = tracer(Post(), ratio=0.5)
    kept = 0
    for _ in range(2000):
        made = trail(0)
        half.add(made)
        kept += made.sampled
        again = trail(int(made.trace_id, 16), "00")
        tracer(Post(), ratio=0.5, parent="ratio").add(again)
        assert again.sampled is made.sampled
    assert 800 < kept < 1200


async def test_spans_are_sent_in_the_background_in_bounded_messages() -> None:
    post, metrics, tasks = Post(), Metrics(), Tasks()
    made = tracer(post, metrics)
    made.start(tasks)
    for number in range(1, 301):
        made.add(trail(number))
    while sample(metrics, "extauthz_traces_total") < 300:  # noqa: ASYNC110 - a task sends
        await asyncio.sleep(0.005)
    assert len(post.bodies) == 3
    assert {one["traceId"] for one in post.spans} == {f"{number:032x}" for number in range(1, 301)}
    resource = {one["key"] for one in post.bodies[0]["resourceSpans"][0]["resource"]["attributes"]}
    assert resource == {"service.name", "service.version", "zone"}
    await tasks.close()
    await made.close()
    assert post.closed


@pytest.mark.parametrize("answer", [503, 429, 404, OutboundError("no answer")])
async def test_what_is_not_taken_is_counted(answer: int | Exception) -> None:
    post, metrics = Post(answer), Metrics()
    made = tracer(post, metrics)
    for number in range(1, 201):
        made.add(trail(number))
    await made.close()
    assert sample(metrics, "extauthz_traces_dropped_total", reason="export") == 200
    assert len(post.bodies) == 1  # the end waits for one message, not for all


async def test_a_collector_that_hangs_costs_a_bounded_number() -> None:
    post, metrics, tasks = Post(), Metrics(), Tasks()
    post.gate.clear()
    made = tracer(post, metrics, buffer=64)
    made.start(tasks)
    for number in range(1, 500):
        made.add(trail(number))
    assert sample(metrics, "extauthz_traces_dropped_total", reason="buffer") == 435
    while not post.bodies:  # noqa: ASYNC110 - a task sends
        await asyncio.sleep(0.005)
    await tasks.close()  # in the middle of a message
    assert sample(metrics, "extauthz_traces_dropped_total", reason="export") == 64
    await made.close()


async def test_a_defect_in_one_check_costs_its_spans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    post, whole = Post(), spans.spans

    def broken(made: Trail) -> bytes:
        if made.trace_id == f"{1:032x}":
            raise ValueError("broken")
        return whole(made)

    monkeypatch.setattr(spans, "spans", broken)
    made = tracer(post)
    made.add(trail(1))
    made.add(trail(2))
    await made.close()
    assert {one["traceId"] for one in post.spans} == {f"{2:032x}"}


async def test_the_recorder_hands_over_what_is_finished() -> None:
    post, metrics = Post(), Metrics()
    metrics.know(["read"])
    made = tracer(post, metrics)
    recorder = Recorder(RecordSettings(output="none"), metrics, tracer=made)
    one = trail(9)
    one.route = RouteFacts("read")
    recorder.submit(one)
    recorder.submit(trail(8, "00"))
    await recorder.close()
    await made.close()
    assert [span["name"] for span in post.spans] == ["Check read", "extauthz.parse", "extauthz.policy"]
    assert b"# {" not in metrics.render()
    page = metrics.render(openmetrics=True).decode()
    seen = [line for line in page.splitlines() if " # {" in line]
    assert len(seen) == 3
    assert all(f'trace_id="{9:032x}"' in line for line in seen)
    assert 'extauthz_stage_seconds_bucket{le="1e-05",stage="policy"} 2.0 # {' in page
