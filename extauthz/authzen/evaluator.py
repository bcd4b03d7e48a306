"""AuthZEN questions through the policy stage: same entrypoints, projection, cache, candidate, records and metrics.

    1  the route policy that protects this: the one that `context.route` names, else the only one, or several with one
       entrypoint, that declare this action on this type of resource; else `api.authzen.policy`; else a denial
    2  the policy input: the question's own words; the environment is this server's, never the caller's
    3  projection → decision cache → engine, within the request's deadline
    4  a record and metrics, as for a Check

The caller speaks for the subject: who may call is decided before (`authn.access`). Attribute sources are not asked,
because they read Envoy's request; the question brings `properties` instead.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import EngineFault
from extauthz.model import Decision, Subject, deny
from extauthz.policy.engine import Query
from extauthz.telemetry.redact import plain
from extauthz.telemetry.trail import RouteFacts, Stage, Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extauthz.authzen.question import Question
    from extauthz.authzen.settings import AuthzenSettings
    from extauthz.check.pipeline import Route
    from extauthz.check.policy_stage import PolicyStage
    from extauthz.clock import Clock
    from extauthz.policy.projection import Projector
    from extauthz.telemetry.recorder import Recorder

log = logging.getLogger(__name__)

ROUTE: Final = "authzen"
"""What records and metrics call the route of a question that no route policy covers."""
TRANSPORT: Final = "authzen"
_OWN_CONTEXT: Final = frozenset({"route", "environment", "workload", "credential", "properties"})


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and on which occasion. `path` is the endpoint; `deadline` is monotonic."""

    caller: Subject
    path: str
    request_id: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Answer:
    decision: Decision
    decision_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    service: str
    entrypoint: str
    project: Projector
    ttl: float
    detail: str


class Evaluator:
    """`projector_of` gives an entrypoint's projection; `routes` are the route policies of this generation."""

    def __init__(
        self,
        settings: AuthzenSettings,
        *,
        routes: Iterable[Route],
        environment: str,
        projector_of: Callable[[str], Projector],
        policy: PolicyStage,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._environment = environment
        self._policy = policy
        self._recorder = recorder
        self._clock = clock
        targets = [(route, _target(route)) for route in routes]
        self._by_name = {route.settings.name: target for route, target in targets}
        self._by_action: dict[tuple[str, str], _Target | None] = {}
        for route, target in targets:
            key = (route.settings.action, route.settings.resource.type)
            other = self._by_action.setdefault(key, target)
            if other is not None and other.entrypoint != target.entrypoint:
                self._by_action[key] = None
        self._default = None
        if (entrypoint := settings.policy) is not None:
            self._default = _Target(
                ROUTE, "", entrypoint, projector_of(entrypoint), settings.cache_ttl, settings.detail
            )

    async def ask(self, question: Question, asker: Asker) -> Answer:
        """Always an answer, and always a record of it; a fault of the engine is a denial at layer `engine`."""
        trail = Trail(self._clock.now(), TRANSPORT)
        trail.path, trail.request_id, trail.source = asker.path, asker.request_id, asker.caller.id
        trail.subject = Subject(plain(question.subject["type"], 64), question.subject["id"], "asserted")
        trail.resource_id = question.resource["id"]
        decision: Decision = deny("engine.internal", "the evaluation ended without a decision")
        target = self._target(question)  # 1
        try:
            decision = await self._decide(question, target, asker.deadline, trail)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
        except Exception:
            log.exception("evaluation %s failed", trail.decision_id)
        finally:
            trail.mark(Stage.RESPOND)
            trail.decision = decision
            self._recorder.submit(trail)  # 4
        return Answer(decision, trail.decision_id, target.detail if target else "code")

    async def _decide(self, question: Question, target: _Target | None, deadline: float, trail: Trail) -> Decision:
        trail.route = RouteFacts(
            target.name if target else ROUTE,
            target.service if target else "",
            entrypoint=target.entrypoint if target else "",
            action=plain(question.action["name"], 64),
            resource_type=plain(question.resource["type"], 64),
        )
        trail.mark(Stage.ROUTE)
        if target is None:
            return deny("request.route_unknown", "no route policy declares this action and resource type")
        document = self._policy_input(question, target)  # 2
        query = Query(target.entrypoint, target.project(document), target.ttl, deadline)
        evaluation = await self._policy.ask(query, document, trail)  # 3
        trail.mark(Stage.POLICY)
        if self._clock.monotonic() > deadline:
            return deny("engine.deadline", "the decision came too late")
        return evaluation.decision

    def _target(self, question: Question) -> _Target | None:
        named = question.context.get("route")
        if isinstance(named, str) and (target := self._by_name.get(named)) is not None:
            return target
        return self._by_action.get((question.action["name"], question.resource["type"])) or self._default

    def _policy_input(self, question: Question, target: _Target) -> dict[str, Any]:
        given = question.context
        context: dict[str, Any] = {"environment": self._environment}
        if target.name != ROUTE:
            context["route"] = target.name
        for name in ("workload", "credential"):
            if isinstance(given.get(name), dict):
                context[name] = given[name]
        own = given.get("properties")
        properties = {key: value for key, value in given.items() if key not in _OWN_CONTEXT}
        if isinstance(own, dict):
            properties |= own
        if properties:
            context["properties"] = properties
        return {
            "subject": _entity(question.subject, "type", "id"),
            "action": _entity(question.action, "name"),
            "resource": _entity(question.resource, "type", "id"),
            "context": context,
        }


def _target(route: Route) -> _Target:
    settings = route.settings
    return _Target(settings.name, settings.service, settings.policy, route.project, settings.cache_ttl, settings.detail)


def _entity(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Without members that the contract does not know: a policy must not be led to read them."""
    return {name: given[name] for name in names} | {"properties": given.get("properties", {})}
