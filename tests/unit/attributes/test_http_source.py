"""The HTTP source: rendering, caching, single flight, faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.attributes.http import HttpValues
from extauthz.attributes.registry import build_sources, outbound_urls
from extauthz.attributes.settings import AttributesSettings
from extauthz.attributes.template import Call, Template
from extauthz.clock import ManualClock
from extauthz.model import Deny, Subject, Workload
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks
from tests.support.attribute_questions import question, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.attributes.source import AttributeQuestion

ALICE = Subject("user", "alice", "jwt", issuer="https://issuer.example", claims={"tenant": "acme", "n": 7, "x": ["a"]})
GATEWAY = Workload("spiffe://bank.example/env/prod/ns/edge/sa/gateway", "bank.example", service="gateway")
DOCUMENT = {"tier": "gold", "limits": {"daily": 5000}, "tags": ["a", "b"], "extra": "ignored"}


@dataclass
class Pip:
    """The other service: answers what `answer` says, and counts."""

    answer: Any = field(default_factory=lambda: DOCUMENT)
    status: int = 200
    kind: str = "application/json"
    gate: asyncio.Event | None = None
    calls: list[httpx.Request] = field(default_factory=list)

    async def handle(self, asked: httpx.Request) -> httpx.Response:
        self.calls.append(asked)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        content = self.answer if isinstance(self.answer, bytes) else orjson.dumps(self.answer)
        return httpx.Response(self.status, content=content, headers={"content-type": self.kind})


@dataclass
class Bench:
    pip: Pip
    clock: ManualClock
    tasks: Tasks
    waits: list[tuple[str, bool]]
    outbound: Outbound | None = None

    def source(self, **more: Any) -> HttpValues:
        config = settings(
            {
                "kind": "http",
                "name": "customer",
                "url": "https://crm.example/customers/{subject.id}?tenant={subject.claims.tenant}",
                "timeout": "30s",
                "fields": {
                    "tier": {"from": "/tier"},
                    "daily": {"from": "/limits/daily", "type": "number"},
                    "tags": {"from": "/tags", "type": "list", "required": False},
                },
                **more,
            }
        )
        self.outbound = Outbound(outbound_urls(config), transport=httpx.MockTransport(self.pip.handle))
        sources = build_sources(
            config,
            outbound=lambda _: self.outbound,
            clock=self.clock,
            tasks=self.tasks,
            waited=lambda name, _, good: self.waits.append((name, good)),
        )
        source = sources.get("customer")
        assert isinstance(source, HttpValues)
        return source


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(Pip(), ManualClock(), Tasks(), [])
    yield made
    await made.tasks.close()
    if made.outbound is not None:
        await made.outbound.close()


def ask(**more: Any) -> AttributeQuestion:
    return question(subject=more.pop("subject", ALICE), workload=GATEWAY, **more)


def code(got: object) -> str:
    assert isinstance(got, Deny)
    return got.code


async def test_fields_are_picked_and_the_rest_is_dropped(bench: Bench) -> None:
    got = await bench.source().fetch(ask())
    assert got == {"tier": "gold", "daily": 5000, "tags": ["a", "b"]}
    (asked,) = bench.pip.calls
    assert (asked.method, str(asked.url)) == ("GET", "https://crm.example/customers/alice?tenant=acme")
    assert asked.headers["accept"] == "application/json"
    assert "authorization" not in asked.headers
    assert bench.waits == [("customer", True)]


async def test_post_with_body_headers_and_bearer(bench: Bench, tmp_path: Any) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    source = bench.source(
        url="https://crm.example/query",
        method="POST",
        body={"who": "{subject.id} of {workload.service}", "fixed": "x", "what": "{resource.type}/{resource.id}"},
        headers={"x-tenant": "bank"},
        bearer_token_file=str(tmp_path / "token"),
    )
    await source.fetch(ask())
    (asked,) = bench.pip.calls
    assert orjson.loads(asked.content) == {"who": "alice of gateway", "fixed": "x", "what": "transfer/T-1"}
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert (asked.headers["x-tenant"], asked.headers["content-type"]) == ("bank", "application/json")
    assert "s3cret" not in repr(source._service)


async def test_a_cached_answer_never_suspends(bench: Bench) -> None:
    source = bench.source(ttl="10s")
    assert source.ready(ask()) is None
    first = await source.fetch(ask())
    assert source.ready(ask()) == first
    bench.clock.advance(9.9)
    assert source.ready(ask()) == first
    bench.clock.advance(0.1)
    assert source.ready(ask()) is None
    await source.fetch(ask())
    assert len(bench.pip.calls) == 2


async def test_without_ttl_nothing_is_kept(bench: Bench) -> None:
    source = bench.source()
    await source.fetch(ask())
    assert source.ready(ask()) is None
    await source.fetch(ask())
    assert len(bench.pip.calls) == 2


async def test_answers_do_not_cross_subjects(bench: Bench) -> None:
    source = bench.source(ttl="10s")
    await source.fetch(ask())
    assert source.ready(ask(subject=Subject("user", "bob", "jwt", claims={"tenant": "acme"}))) is None
    assert source.ready(ask(subject=Subject("user", "alice", "jwt", claims={"tenant": "evil"}))) is None
    assert source.ready(ask(subject=Subject("user", "alice", "jwt", claims={"tenant": "acme"}))) is not None


async def test_one_call_for_many_checks_outlives_the_first(bench: Bench) -> None:
    bench.pip.gate = asyncio.Event()
    source = bench.source(ttl="10s")
    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(source.fetch(ask())) for _ in range(50)]
        while not bench.pip.calls:  # noqa: ASYNC110 - nothing to set an event
            await asyncio.sleep(0)
        checks[0].cancel()
        await asyncio.sleep(0)
        bench.pip.gate.set()
    assert checks[0].cancelled()
    assert all(check.result() == checks[1].result() for check in checks[1:])
    assert checks[1].result() == {"tier": "gold", "daily": 5000, "tags": ["a", "b"]}
    assert len(bench.pip.calls) == 1


@pytest.mark.parametrize(
    ("pip", "why"),
    [
        ({"status": 500}, "answered 500"),
        ({"status": 404}, "answered 404"),
        ({"status": 302}, "answered 302"),
        ({"status": 204, "answer": b""}, "answered 204"),
        ({"kind": "text/html"}, "something else than JSON"),
        ({"kind": ""}, "something else than JSON"),
        ({"answer": b"{"}, "not JSON"),
        ({"answer": b'{"tier":"a","tier":"b"}'}, "twice"),
        ({"answer": b'{"tier": NaN}'}, "NaN"),
        ({"answer": b"[" * 5000}, "deeply"),
        ({"answer": b" " * 70_000}, "more than 65536 bytes"),
        ({"answer": {}}, "customer.tier: missing"),
        ({"answer": {"tier": None, "limits": {"daily": 1}}}, "customer.tier: missing"),
        ({"answer": []}, "customer.tier: missing"),
        ({"answer": {"tier": 5, "limits": {"daily": 1}}}, "customer.tier: a string"),
        ({"answer": {"tier": "x" * 300, "limits": {"daily": 1}}}, "at most 256"),
        ({"answer": {"tier": "a", "Tier": "b", "limits": {"daily": 1}}}, "only in case"),
        ({"answer": {"tier": "a", "limits": {"daily": "5"}}}, "customer.daily: a number"),
        ({"answer": httpx.ConnectError("refused by secret-host")}, "ConnectError"),
        ({"answer": ValueError("secret")}, "ValueError"),
    ],
)
async def test_faults_deny(bench: Bench, pip: dict[str, Any], why: str) -> None:
    for name, value in pip.items():
        setattr(bench.pip, name, value)
    got = await bench.source().fetch(ask())
    assert code(got) == "engine.attributes_unavailable"
    assert why in got.reasons[0].detail  # type: ignore[union-attr]  # a Deny: asserted above
    assert "secret" not in got.reasons[0].detail  # type: ignore[union-attr]  # the same


async def test_a_route_is_held_only_to_what_it_uses(bench: Bench) -> None:
    bench.pip.answer = {"tier": "gold", "limits": {"daily": "broken"}}
    source = bench.source(ttl="10s")
    assert await source.narrow(frozenset({"tier"})).fetch(ask()) == {"tier": "gold"}
    assert code(await source.fetch(ask())) == "engine.attributes_unavailable"
    assert len(bench.pip.calls) == 1


async def test_a_404_may_mean_that_nothing_is_known(bench: Bench) -> None:
    bench.pip.status = 404
    source = bench.source(ttl="10s", missing="omit")
    assert await source.narrow(frozenset({"tags"})).fetch(ask()) == {}
    assert code(source.narrow(frozenset({"tier"})).ready(ask())) == "engine.attributes_unavailable"


async def test_the_last_good_answer_serves_for_a_bounded_time(bench: Bench) -> None:
    source = bench.source(ttl="10s", stale_if_error="60s")
    good = await source.fetch(ask())
    bench.pip.status = 500
    bench.clock.advance(11)
    assert source.ready(ask()) is None
    assert await source.fetch(ask()) == good
    assert len(bench.pip.calls) == 2
    assert source.ready(ask()) == good  # the service is left alone for a moment
    bench.clock.advance(1)
    assert source.ready(ask()) is None
    assert await source.fetch(ask()) == good
    assert len(bench.pip.calls) == 3
    bench.clock.advance(58)
    assert code(await source.fetch(ask())) == "engine.attributes_unavailable"
    bench.pip.status = 200
    assert await source.fetch(ask()) == good


async def test_a_stale_answer_is_bounded_even_within_the_pause(bench: Bench) -> None:
    source = bench.source(ttl="1s", stale_if_error="1s")
    await source.fetch(ask())
    bench.pip.status = 500
    bench.clock.advance(1.9)
    assert not isinstance(await source.fetch(ask()), Deny)
    bench.clock.advance(0.2)
    assert code(await source.fetch(ask())) == "engine.attributes_unavailable"


async def test_a_deadline_that_is_nearer_than_the_timeout(bench: Bench) -> None:
    bench.pip.gate = asyncio.Event()
    patient = bench.source()
    near = bench.clock.monotonic() + 0.001
    assert code(await patient.fetch(ask(deadline=near))) == "engine.attributes_unavailable"
    assert len(bench.pip.calls) == 1
    assert code(await patient.fetch(ask(deadline=bench.clock.monotonic()))) == "engine.deadline"
    assert len(bench.pip.calls) == 1
    bench.pip.gate.set()


async def test_a_service_that_is_too_slow_for_its_timeout(bench: Bench) -> None:
    bench.pip.gate = asyncio.Event()
    got = await bench.source(timeout="5ms").fetch(ask())
    assert code(got) == "engine.attributes_unavailable"
    bench.pip.gate.set()


async def test_calls_at_the_same_time_are_bounded(bench: Bench) -> None:
    bench.pip.gate = asyncio.Event()
    source = bench.source(max_concurrent=2)
    subjects = [Subject("user", f"u{number}", "jwt", claims={"tenant": "acme"}) for number in range(5)]
    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(source.fetch(ask(subject=subject))) for subject in subjects]
        while len(bench.pip.calls) < 2:  # noqa: ASYNC110 - nothing to set an event
            await asyncio.sleep(0)
        bench.pip.gate.set()
    assert [isinstance(check.result(), Deny) for check in checks] == [False, False, True, True, True]
    assert "busy" in checks[4].result().reasons[0].detail  # type: ignore[union-attr]  # a Deny: asserted above


async def test_a_flood_of_keys_leaves_the_hot_ones(bench: Bench) -> None:
    source = bench.source(ttl="10s", max_entries=10)
    await source.fetch(ask())
    assert source.ready(ask()) is not None
    for number in range(100):
        await source.fetch(ask(subject=Subject("user", f"u{number}", "jwt", claims={"tenant": "acme"})))
    assert source.ready(ask()) is not None
    assert len(source._service._cache) == 10


async def test_closing_answers_those_who_wait(bench: Bench) -> None:
    bench.pip.gate = asyncio.Event()
    source = bench.source()
    async with asyncio.TaskGroup() as group:
        check = group.create_task(source.fetch(ask()))
        while not bench.pip.calls:  # noqa: ASYNC110 - nothing to set an event
            await asyncio.sleep(0)
        await bench.tasks.close()
    assert code(check.result()) == "engine.attributes_unavailable"


def template(url: str, **more: Any) -> Template:
    config = settings({"kind": "http", "name": "s", "url": url, "fields": {"a": {"from": "/a"}}, **more})
    return Template(config.sources[0])  # type: ignore[arg-type]  # the only source is an HttpSource


def test_templates() -> None:
    assert template("http://h/x?y=1").render(ask()) == Call("http://h/x?y=1", b"")
    rendered = template("http://h/{path.a}/v{subject.claims.n}?w={workload.id}&i={subject.issuer}").render(
        ask(variables={"a": "é x"})
    )
    assert rendered == Call(
        "http://h/%C3%A9%20x/v7?w=spiffe%3A%2F%2Fbank.example%2Fenv%2Fprod%2Fns%2Fedge%2Fsa%2Fgateway"
        "&i=https%3A%2F%2Fissuer.example",
        b"",
    )


@pytest.mark.parametrize(
    "value", ["..", ".", "a/b", "a\\b", "%2e%2e", "a%2fb", "a\r\nb", "a\x00", "x" * 1025, "\ud800"]
)
@pytest.mark.parametrize("place", ["{path.a}", "{resource.id}"])
def test_a_path_variable_never_leaves_its_segment(value: str, place: str) -> None:
    got = template(f"http://h/c/{place}/d").render(ask(variables={"a": value}, resource_id=value))
    assert isinstance(got, Deny)
    expected = "engine.attributes_unavailable" if value in {"x" * 1025, "\ud800"} else "request.path_ambiguous"
    assert got.code == expected


def test_two_variables_never_make_a_dot_segment() -> None:
    got = template("http://h/{path.a}{path.b}/d").render(ask(variables={"a": ".", "b": "."}))
    assert code(got) == "request.path_ambiguous"


@given(st.text(min_size=1, max_size=30))
def test_any_variable_stays_in_its_place(value: str) -> None:
    got = template("http://h/c/{path.a}/d?q={path.a}&r=1").render(ask(variables={"a": value}))
    if isinstance(got, Deny):
        assert got.code in {"request.path_ambiguous", "engine.attributes_unavailable"}
        return
    url = httpx.URL(got.url)
    assert url.host == "h"
    assert url.raw_path.count(b"/") == 3
    assert list(url.params.multi_items()) == [("q", value), ("r", "1")]


@pytest.mark.parametrize(
    "subject", [None, Subject("user", "", "jwt"), Subject("user", "a", "jwt", claims={"x": ["a"]})]
)
def test_a_variable_without_value(subject: Subject | None) -> None:
    for variable in ("subject.id", "subject.claims.x"):
        got = template(f"http://h/{{{variable}}}x").render(question(subject=subject))
        if not (subject and subject.id and variable == "subject.id"):
            assert code(got) == "engine.attributes_unavailable"
    assert code(template("http://h/{workload.id}").render(question())) == "engine.attributes_unavailable"
    assert code(template("http://h/{path.a}").render(question())) == "engine.attributes_unavailable"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://h/"},
        {"url": "http://{subject.id}/"},
        {"url": "http://h{path.a}/"},
        {"url": "http://user:pw@h/"},
        {"url": "http://h"},
        {"url": "http://h/#f"},
        {"url": "http://h/a b"},
        {"url": "http://h/\\x"},
        {"url": "http://h/../x"},
        {"url": "http://h:port/"},
        {"url": "http://h/{header.x}"},
        {"url": "http://h/{subject.claims}"},
        {"url": "http://h/{"},
        {"body": {"a": "b"}},
        {"method": "POST", "body": {"a": "{nobody}"}},
        {"method": "POST", "body": {"a": "}"}},
        {"headers": {"authorization": "Bearer x"}},
        {"headers": {"x": "a\r\nb"}},
        {"bearer_token_file": "/x", "url": "http://h/"},
        {"stale_if_error": "1s"},
        {"timeout": "0"},
        {"fields": {}},
        {"fields": {"a": {"from": "a"}}},
        {"unknown": 1},
    ],
)
def test_what_the_configuration_refuses(wrong: dict[str, Any]) -> None:
    right = {"kind": "http", "name": "s", "url": "http://h/x", "fields": {"a": {"from": "/a"}}}
    AttributesSettings.model_validate({"sources": [right]})
    with pytest.raises(ValidationError):
        AttributesSettings.model_validate({"sources": [right | wrong]})
