"""Steps 5 and 6 of a Check: attributes and policy, each within its part of the caller's time.

    5  attributes   sources that the route names, in parallel; one that is away → the route's failure plan
    6  policy       projection → decision cache → engine; an engine that is away → the route's failure plan:
                    closed: its fault · open: an allow, unjudged · degrade: the last known good policy in this process

A policy that has to do without a part is told so (`input.context.degraded`), and its answer is kept nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.attributes.source import AttributeQuestion
from extauthz.check.budget import until
from extauthz.check.failure import OPEN, Cause, away, note, planned
from extauthz.errors import EngineFault
from extauthz.model import Deny, deny
from extauthz.policy.engine import Query
from extauthz.telemetry.trail import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from extauthz.attributes.plan import AttributePlan
    from extauthz.check.pipeline import Facts, Route
    from extauthz.check.policy_stage import PolicyStage
    from extauthz.clock import Clock
    from extauthz.model import Away, Decision, Subject, Workload
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.trail import Trail

_UNPROVEN: Final = deny("engine.internal", "nothing is proven that could be judged")
_NO_ATTRIBUTES: Final[Mapping[str, Mapping[str, Any]]] = {}
_NO_VARIABLES: Final[Mapping[str, str]] = {}


class Judge:
    __slots__ = ("_clock", "_metrics", "_policy")

    def __init__(self, policy: PolicyStage, metrics: Metrics, clock: Clock) -> None:
        self._policy = policy
        self._metrics = metrics
        self._clock = clock

    async def judge(self, facts: Facts, trail: Trail, deadline: float) -> Decision:
        """`deadline` is on the monotonic scale. Raises EngineFault."""
        route, request, workload, subject = facts.route, facts.request, facts.workload, facts.subject
        if route is None or request is None:
            return _UNPROVEN
        # 5 attributes
        attributes = _NO_ATTRIBUTES
        if (plan := route.attributes) is not None:
            question = AttributeQuestion(
                request,
                subject,
                workload,
                facts.variables or _NO_VARIABLES,
                deadline,
                route.settings.resource.type,
                trail.resource_id,
            )
            collected = plan.collect_sync(question) or await self._collect(plan, question, route, trail)
            trail.mark(Stage.ATTRIBUTES)
            if isinstance(collected, Deny):
                return planned(route.failure, Cause.ATTRIBUTES, collected, trail, self._metrics)
            attributes = collected
        # 6 policy
        policy_input = route.template.fill(request, workload, subject, trail.resource_id, attributes)
        if trail.degraded:
            policy_input["context"]["degraded"] = trail.degraded
        query = Query(
            entrypoint=route.settings.policy,
            input=route.project(policy_input),
            ttl=0.0 if trail.degraded else self._reuse(route, workload, subject),
            deadline=deadline,
        )
        try:
            evaluation = await self._policy.ask(query, policy_input, trail, route.budget.engine)
        except EngineFault as fault:
            return await self._without_engine(fault, route, policy_input, deadline, trail)
        finally:
            trail.mark(Stage.POLICY)
        return evaluation.decision

    async def _collect(
        self, plan: AttributePlan, question: AttributeQuestion, route: Route, trail: Trail
    ) -> dict[str, dict[str, Any]] | Deny:
        """Step 5 where a source has to be waited for."""
        question.deadline = until(self._clock.monotonic(), question.deadline, route.budget.attributes)
        spared: list[Away] | None = [] if route.failure.attributes == "degrade" else None
        collected = await plan.collect(question, spared)
        if spared and not isinstance(collected, Deny):
            note(trail, Cause.ATTRIBUTES, spared[0].code, "degrade", self._metrics)
        return collected

    async def _without_engine(
        self, fault: EngineFault, route: Route, policy_input: dict[str, Any], deadline: float, trail: Trail
    ) -> Decision:
        """Step 6 when the engine gave no answer. Raises EngineFault."""
        plan = route.failure.engine
        if plan == "closed" or not away(fault):
            raise fault
        note(trail, Cause.ENGINE, fault.code, plan, self._metrics)
        if plan == "open":
            return OPEN
        policy_input["context"]["degraded"] = trail.degraded
        ends = until(self._clock.monotonic(), deadline, route.budget.fallback)
        query = Query(route.settings.policy, route.project(policy_input), 0.0, ends)
        return (await self._policy.ask_fallback(query, policy_input, trail)).decision

    def _reuse(self, route: Route, workload: Workload | None, subject: Subject | None) -> float:
        """Seconds for which the decision may be reused: no longer than anything that it was derived from."""
        ttl = route.settings.cache_ttl
        now = self._clock.now()
        if workload is not None and workload.expires_at:
            ttl = min(ttl, workload.expires_at - now)
        if subject is not None and subject.expires_at:
            ttl = min(ttl, subject.expires_at - now)
        return max(ttl, 0.0)
