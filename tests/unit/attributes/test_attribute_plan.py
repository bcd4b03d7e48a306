"""Registry and plan: what a route collects, and what the configuration may not say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from extauthz.attributes.plan import AttributePlan, build_plan
from extauthz.attributes.registry import Sources, build_sources, outbound_urls
from extauthz.attributes.settings import AttributesSettings, AttributeUse
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError, SourceFault
from extauthz.model import Deny, deny
from extauthz.tasks import Tasks
from tests.support.attribute_questions import no_outbound, plan_of, question, request, request_source, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.attributes.source import AttributeQuestion

STATIC = {"kind": "static", "name": "platform", "values": {"zone": "eu-1", "stage": "prod", "list": [1, {"a": None}]}}
HTTP = {"kind": "http", "name": "pip", "url": "https://pip.example/{path.id}", "fields": {"tier": {"from": "/tier"}}}
ASKED = request_source(
    amount={"from": "body:/amount", "type": "number", "required": False}, id="path:id", version="header:x-version"
)


def sources(*configs: dict[str, Any]) -> Sources:
    config = settings(*(configs or (STATIC, ASKED, HTTP)))
    return build_sources(config, outbound=lambda _: no_outbound(), clock=ManualClock(), tasks=Tasks())


class Waiting:
    """A source that has to be waited for."""

    awaits = True
    trusted = True
    path_variables: frozenset[str] = frozenset()

    def __init__(self, name: str, result: Any, barrier: asyncio.Barrier | None = None) -> None:
        self.name = name
        self.names = frozenset({"value"})
        self._result = result
        self._barrier = barrier
        self.asked = 0

    def narrow(self, names: frozenset[str]) -> Waiting:
        return self

    def ready(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny | None:
        return None

    async def fetch(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
        self.asked += 1
        if self._barrier is not None:
            await self._barrier.wait()
        if isinstance(self._result, Exception):
            raise self._result
        assert isinstance(self._result, dict | Deny)
        return self._result


def waiting_plan(*waiting: Waiting) -> AttributePlan:
    return plan_of(Sources(waiting), {one.name: {f"subject.properties.{one.name}": "value"} for one in waiting})


def test_an_empty_plan_gives_empty_properties() -> None:
    plan = AttributePlan()
    assert not plan.needs_await
    assert plan.collect_sync(question()) == {"subject": {}, "resource": {}, "context": {}}


def test_values_go_where_the_route_says() -> None:
    plan = plan_of(
        sources(),
        {
            "platform": {"context.properties.zone": "zone", "resource.properties.model.stage": "stage"},
            "asked": {"resource.properties.model.version": "version", "resource.properties.amount": "amount"},
        },
    )
    assert not plan.needs_await
    asked = question(request(b'{"amount": 5}', {"content-type": "application/json", "x-version": "3"}))
    got = plan.collect_sync(asked)
    assert got == {
        "subject": {},
        "resource": {"model": {"stage": "prod", "version": "3"}, "amount": 5},
        "context": {"zone": "eu-1"},
    }
    later = plan.collect_sync(question(request(headers={"x-version": "4"}, method="GET")))
    assert isinstance(later, dict)
    assert later["resource"] == {"model": {"stage": "prod", "version": "4"}}
    assert got["resource"]["model"]["version"] == "3"


def test_static_values_of_one_property_are_joined() -> None:
    plan = plan_of(
        sources(), {"platform": {"resource.properties.model.stage": "stage", "resource.properties.model.zone": "zone"}}
    )
    got = plan.collect_sync(question())
    assert isinstance(got, dict)
    assert got["resource"] == {"model": {"stage": "prod", "zone": "eu-1"}}
    got["resource"]["other"] = 1
    again = plan.collect_sync(question())
    assert isinstance(again, dict)
    assert "other" not in again["resource"]


async def test_sources_are_waited_for_in_parallel() -> None:
    barrier = asyncio.Barrier(3)
    plan = waiting_plan(*(Waiting(name, {"value": name}, barrier) for name in "abc"))
    assert plan.needs_await
    assert plan.collect_sync(question()) is None
    assert await plan.collect(question()) == {
        "subject": {"a": "a", "b": "b", "c": "c"},
        "resource": {},
        "context": {},
    }


async def test_the_first_denial_in_order_is_given() -> None:
    one, two = deny("engine.attributes_unavailable", "one"), deny("engine.deadline", "two")
    assert await waiting_plan(Waiting("a", {}), Waiting("b", one), Waiting("c", two)).collect(question()) is one
    assert await waiting_plan(Waiting("a", two), Waiting("b", one)).collect(question()) is two


@pytest.mark.parametrize("others", [0, 2])
async def test_a_fault_is_a_denial(others: int) -> None:
    more = [Waiting(f"x{number}", {"value": 1}) for number in range(others)]
    got = await waiting_plan(Waiting("a", SourceFault("a", "down")), *more).collect(question())
    assert isinstance(got, Deny)
    assert (got.code, got.reasons[0].detail) == ("engine.attributes_unavailable", "attribute source a: down")


async def test_what_is_at_hand_denies_before_anyone_is_asked() -> None:
    slow = Waiting("slow", {"value": 1})
    registry = sources()
    registry.add(slow)
    uses = {"slow": {"subject.properties.a": "value"}, "asked": {"resource.properties.version": "version"}}
    plan = plan_of(registry, uses)
    for got in (plan.collect_sync(question()), await plan.collect(question())):
        assert isinstance(got, Deny)
        assert got.code == "request.header_malformed"
    assert slow.asked == 0


async def test_cancellation_passes_through() -> None:
    barrier = asyncio.Barrier(9)
    plan = waiting_plan(Waiting("a", {}, barrier), Waiting("b", {}, barrier))
    async with asyncio.TaskGroup() as group:
        check = group.create_task(plan.collect(question()))
        while barrier.n_waiting < 2:  # noqa: ASYNC110 - the barrier has no event
            await asyncio.sleep(0)
        check.cancel()
    assert check.cancelled()


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ({"nobody": {"context.properties.a": "zone"}}, "no source is called nobody"),
        ({"platform": {"context.properties.a": "nothing"}}, "has no value nothing"),
        ({"asked": {"resource.properties.a": "id"}}, "path variables that the route does not have: id"),
        ({"pip": {"resource.properties.a": "tier"}}, "path variables that the route does not have: id"),
        ({"asked": {"subject.properties.roles": "version"}}, "never describes the subject"),
        ({"platform": {"subject.properties.tenant": "zone"}}, "a verified claim sets this property"),
        (
            {"platform": {"resource.properties.a": "zone"}, "asked": {"resource.properties.a": "version"}},
            "two sources write",
        ),
        (
            {"platform": {"resource.properties.a": "zone"}, "asked": {"resource.properties.a.b": "version"}},
            "two sources write",
        ),
        (
            {"platform": {"resource.properties.a.b": "zone"}, "asked": {"resource.properties.a": "version"}},
            "two sources write",
        ),
    ],
)
def test_plans_that_are_refused(uses: dict[str, dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_plan(
            [AttributeUse.model_validate({"source": name, "to": to}) for name, to in uses.items()],
            sources(),
            verified={"tenant", "roles"},
        )
    assert caught.value.problems[0].key.startswith("attributes.")
    assert caught.value.problems[0].remedy


def test_every_problem_is_told() -> None:
    uses = {"nobody": {"context.properties.a": "x"}, "platform": {"context.properties.b": "nothing"}}
    with pytest.raises(ConfigError) as caught:
        plan_of(sources(), uses)
    assert [problem.key for problem in caught.value.problems] == ["attributes.0.source", "attributes.1.to"]


def test_a_route_with_the_variable_is_accepted() -> None:
    assert plan_of(sources(), {"pip": {"resource.properties.a": "tier"}}, ["id"]).needs_await


@pytest.mark.parametrize(
    "target",
    [
        "subject.id",
        "subject.properties.issuer",
        "subject.properties.scopes",
        "subject.properties.purpose",
        "subject.properties.a.b",
        "context.workload",
        "context.properties.a.b",
        "context.credential.type",
        "action.name",
        "resource.id",
        "resource.properties.a.b.c",
        "resource.properties.",
        "resource.properties.a-b",
        "",
    ],
)
def test_targets_that_nothing_may_write(target: str) -> None:
    with pytest.raises(ValidationError):
        AttributeUse.model_validate({"source": "platform", "to": {target: "zone"}})


def test_two_sources_of_one_name() -> None:
    with pytest.raises(ValidationError, match="two sources are called platform"):
        AttributesSettings.model_validate({"sources": [STATIC, STATIC]})
    registry = sources(STATIC)
    platform = registry.get("platform")
    assert platform is not None
    with pytest.raises(ConfigError, match="two sources are called platform"):
        registry.add(platform)
    assert "platform" in registry
    assert len(registry) == 1


@pytest.mark.parametrize("value", [float("nan"), 2**53, {1: 2}, object(), b"x", [[[[[[[[[[1]]]]]]]]]]])
def test_static_values_are_plain_json(value: object) -> None:
    with pytest.raises(ValidationError):
        settings({"kind": "static", "name": "s", "values": {"a": value}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "path:a", "type": "list"},
        {"from": "method", "type": "integer"},
        {"from": "host", "type": "list"},
        {"from": "grpc:size"},
        {"from": "grpc:other"},
        {"from": "body:/a", "max_length": 0},
        {"from": "body:/a", "max_length": 10**9},
        {"from": "body:/" + "a" * 600},
    ],
)
def test_fields_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(request_source(a=wrong))


@pytest.mark.parametrize("content", ["", "two words", "tök€n", "x" * 9000])
def test_token_files_that_cannot_be_used(tmp_path: Any, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(ConfigError, match="bearer_token_file") as caught:
        sources(HTTP | {"bearer_token_file": str(tmp_path / "token")})
    assert content == "" or content not in str(caught.value)


def test_a_token_file_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        sources(HTTP | {"bearer_token_file": str(tmp_path / "token")})


def test_origins_that_are_called() -> None:
    config = settings(STATIC, HTTP, HTTP | {"name": "again"}, HTTP | {"name": "c", "url": "http://[::1]:8080/x?y=/"})
    assert outbound_urls(config) == ("https://pip.example", "http://[::1]:8080")
