"""The path of a Check, top to bottom.

    record a trail; the decision starts as a denial              fail closed by construction
    within the caller's deadline:
      1  wire         Envoy's words become ours, bounded
      2  route        Envoy's context_extensions, else host + method + path template; under overload: does it come on?
      3  workload     peer certificate, principal and XFCC, cross-checked; may it call this route?
      4  credential   it becomes a subject (`credential`); its binding (`cnf`) is checked against the peer; quarantine
         an asynchronous route's request goes on here: steps 5 and 6 judge it in the background (`judgement`)
      5  attributes   only the sources that the route names, in parallel, within the deadline
      6  policy       projection → decision cache → engine; a break-glass grant may override its refusal
      7  obligations  token exchange, headers to set and to strip, metadata
    finally: the record is handed over (also when the caller has gone); the answer is written

A credential is verified before any decision cache is read, so an expired or revoked token never meets a cached allow.
Where a part fails, the route's failure plan says what follows (`failure`); without one the answer is a denial.
A pipeline never changes: a reload builds another one and swaps it in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from extauthz.authn import step_up
from extauthz.authn.extract import bearer
from extauthz.check import respond, told, wire
from extauthz.check.admission import OVERLOADED
from extauthz.check.answers import Answers, key
from extauthz.check.budget import until
from extauthz.check.credential import presented
from extauthz.check.exchange import narrowed
from extauthz.check.failure import REVOCATIONS_STALE, Cause, note, planned
from extauthz.check.identity import MODE, upstream_headers
from extauthz.check.judge import Judge
from extauthz.errors import EngineFault
from extauthz.model import Allow, Decision, Deny, Request, Subject, Workload, deny
from extauthz.telemetry.trail import Stage, Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from extauthz.attributes.plan import AttributePlan
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.workload import WorkloadVerifier
    from extauthz.check.budget import Budget
    from extauthz.check.credential import CredentialStage
    from extauthz.check.exchange import Exchanger, Wanted
    from extauthz.check.exchanged import Granted
    from extauthz.check.failure_settings import FailurePlan
    from extauthz.check.hooks import Admission, AuditTrail, BreakGlass, Judgement, Quarantine
    from extauthz.check.policy_input import InputTemplate
    from extauthz.check.policy_stage import PolicyStage
    from extauthz.check.router import Router
    from extauthz.check.routes import RouteSettings
    from extauthz.clock import Clock
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.recorder import Recorder
    from extauthz.telemetry.trail import RouteFacts

log = logging.getLogger(__name__)
_UNDECIDED: Final = deny("engine.internal", "the Check ended without a decision")


@dataclass(frozen=True, slots=True)
class Route:
    """A route policy, made ready: everything that does not depend on the request is done."""

    settings: RouteSettings
    callers: Callable[[str], bool]
    """Whether the route's list of workloads covers a SPIFFE ID."""
    attributes: AttributePlan | None
    template: InputTemplate
    project: Callable[[Mapping[str, Any]], bytes]
    policy_headers: frozenset[str]
    remove: tuple[str, ...]
    """Headers to remove, beside those under our prefix."""
    facts: RouteFacts
    failure: FailurePlan
    budget: Budget
    rank: int = 1
    """Who is shed first: the lowest (`admission.RANKS`)."""
    exchange: Wanted | None = None
    """The token that the upstream gets in place of the one that came."""


@dataclass(slots=True)
class Facts:
    """What a Check has established so far."""

    request: Request | None = None
    route: Route | None = None
    variables: Mapping[str, str] | None = None
    """The route's path variables."""
    workload: Workload | None = None
    subject: Subject | None = None
    granted: Granted | None = None
    """The token for the upstream."""


class Pipeline:
    def __init__(
        self,
        *,
        router: Router[Route],
        workloads: WorkloadVerifier,
        revocations: Revocations,
        credentials: CredentialStage,
        policy: PolicyStage,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        max_deadline: float,
        transport: str = "",
        exchanger: Exchanger | None = None,
        admission: Admission | None = None,
        quarantine: Quarantine | None = None,
        judgement: Judgement | None = None,
        break_glass: BreakGlass | None = None,
        audit: AuditTrail | None = None,
    ) -> None:
        self._router = router
        self._workloads = workloads
        self._revocations = revocations
        self._credentials = credentials
        self._policy = policy
        self.judge = Judge(policy, metrics, clock).judge
        """Steps 5 and 6, for a request whose caller and credential are proven: now, or later in the background."""
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._max_deadline = max_deadline
        self._transport = transport
        self._answers = Answers()
        self.exchanger = exchanger
        self.admission = admission
        self._quarantine = quarantine
        self._judgement = judgement
        self._break_glass = break_glass
        self._audit = audit

    async def check(self, message: bytes, budget: float) -> bytes:
        """A serialized CheckRequest to a serialized CheckResponse; `budget` is the caller's, in seconds.

        Raises nothing but CancelledError.
        """
        trail = Trail(self._clock.now(), self._transport)
        facts = Facts()
        decision: Decision = _UNDECIDED
        deadline = self._clock.monotonic() + min(budget, self._max_deadline)
        try:
            decision = await self._decide(message, deadline, facts, trail)
            answer = self._answer(decision, facts, trail)
            if self._audit is not None and isinstance(decision, Allow) and facts.route is not None:
                refused = await self._unrecorded(self._audit, decision, facts, trail, deadline)
                if refused is not None:
                    decision = refused
                    answer = self._answer(decision, facts, trail)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
            answer = self._answer(decision, facts, trail)
        except TimeoutError:
            decision = deny("engine.deadline", "the Check took longer than the caller waits")
            answer = self._answer(decision, facts, trail)
        except Exception:
            log.exception("Check %s failed", trail.decision_id)
            decision = _UNDECIDED  # whatever had been decided before the defect
            answer = self._answer(decision, facts, trail)
        finally:
            self._record(decision, facts, trail)
        return answer

    def _record(self, decision: Decision, facts: Facts, trail: Trail) -> None:
        """Hands the record over; never waits, so it also happens when the caller has gone."""
        self._complete(decision, facts, trail)
        self._recorder.submit(trail)

    def _complete(self, decision: Decision, facts: Facts, trail: Trail) -> None:
        """Whatever a record of this Check says is known now."""
        trail.mark(Stage.RESPOND)
        trail.decision = decision
        trail.workload = facts.workload
        trail.subject = facts.subject

    async def _decide(self, message: bytes, deadline: float, facts: Facts, trail: Trail) -> Decision:
        # 1–4
        settled = await self._prove(message, deadline, facts, trail)
        route = facts.route
        if settled is not None or route is None:
            return settled or _UNDECIDED
        if self._judgement is not None and route.settings.evaluation == "async":
            accepted = await self._judgement.accept(facts, trail, deadline)
            if accepted is not None:
                return accepted
        # 5 and 6
        if self._break_glass is not None and route.settings.break_glass:
            decision = await self._overridable(self._break_glass, facts, trail, deadline)
        else:
            decision = await self.judge(facts, trail, deadline)
        # 7 obligations: what has to be had from elsewhere; the rest is written with the answer
        if isinstance(decision, Allow) and (route.exchange is not None or decision.obligations.exchange is not None):
            refused = await self._exchange(decision, facts, deadline, trail)
            trail.mark(Stage.EXCHANGE)
            if refused is not None:
                return refused
        # The deadline is asked again before anything is allowed: a late answer must not be an allow nobody reads.
        if self._clock.monotonic() > deadline:
            return deny("engine.deadline", "the decision came too late")
        return decision

    async def _prove(  # noqa: PLR0911 - every step may refuse: read it top to bottom
        self, message: bytes, deadline: float, facts: Facts, trail: Trail
    ) -> Decision | None:
        """Steps 1–4: whose request this is, and to which route. None: all of it is proven, and `facts` holds it."""
        # 1 wire
        request = wire.parse(message)
        trail.mark(Stage.PARSE)
        if isinstance(request, Deny):
            return request
        facts.request = request
        trail.describe(request)
        # 2 route
        matched = self._router.match(request)
        trail.mark(Stage.ROUTE)
        if isinstance(matched, Deny):
            return matched
        route = facts.route = matched.route
        facts.variables = matched.variables
        trail.route = route.facts
        if self.admission is not None and (refused := self.admission.refuse(route, request)) is not None:
            return refused
        # 3 workload
        workload = self._caller(request, route)
        trail.mark(Stage.WORKLOAD)
        if isinstance(workload, Deny):
            return workload
        facts.workload = workload
        if self._quarantine is not None and (refused := self._quarantine.refuse(route.facts.name, workload, None)):
            return refused
        if self._unsure(route, trail):
            return deny(REVOCATIONS_STALE)
        # 4 credential
        subject = await self._credentials.verify(
            request, route.settings, workload, deadline, trail, route.budget.credential
        )
        trail.mark(Stage.TOKEN)
        if isinstance(subject, Deny):
            settled = planned(route.failure, Cause.INTROSPECTION, subject, trail, self._metrics)
            if isinstance(settled, Allow) and self._quarantine is not None:
                shown = presented(request, route.settings)  # unverified, and in quarantine all the same
                return self._quarantine.refuse(route.facts.name, workload, shown) or settled
            return settled
        facts.subject = subject
        trail.resource_id = route.template.resource(matched.variables)
        if self._quarantine is not None:
            return self._quarantine.refuse(route.facts.name, workload, subject)
        return None

    async def _overridable(self, break_glass: BreakGlass, facts: Facts, trail: Trail, deadline: float) -> Decision:
        """Steps 5 and 6 where a grant may stand in for the policy's yes, also when there is no answer of the policy."""
        try:
            decision = await self.judge(facts, trail, deadline)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
        return break_glass.override(decision, facts, trail) if isinstance(decision, Deny) else decision

    async def _unrecorded(
        self, audit: AuditTrail, decision: Allow, facts: Facts, trail: Trail, deadline: float
    ) -> Deny | None:
        """The denial of an allow whose record cannot be had, where the route's plan does not go on without one."""
        route = facts.route
        if route is None or route.failure.audit != "closed":
            return None
        if route.settings.audit == "buffered":
            return None if audit.healthy else deny("engine.audit_unavailable")
        self._complete(decision, facts, trail)
        return None if await audit.written(trail, deadline) else deny("engine.audit_unavailable")

    def _caller(self, request: Request, route: Route) -> Workload | Deny | None:
        """Step 3. None only on a public route, where no identity was presented."""
        own = route.settings.caller == "self"
        workload = self._workloads.own(request) if own else self._workloads.verify(request)
        if workload is None:
            return None if route.settings.public else deny("workload.missing")
        if isinstance(workload, Deny) or route.settings.public or route.callers(workload.id):
            return workload
        return deny("workload.route_denied", f"route {route.settings.name}")

    def _unsure(self, route: Route, trail: Trail) -> bool:
        """Whether nobody knows what has been revoked, and the route does not go on then."""
        if not self._revocations.stale:
            return False
        if route.failure.revocations == "closed":
            return True
        note(trail, Cause.REVOCATIONS, REVOCATIONS_STALE, "open", self._metrics)
        return False

    async def _exchange(self, decision: Allow, facts: Facts, deadline: float, trail: Trail) -> Deny | None:
        """Step 7, the part that may wait. None: `facts.granted` is the token for the upstream. Raises EngineFault."""
        route, request, subject, asked = facts.route, facts.request, facts.subject, decision.obligations.exchange
        token = None if request is None else bearer(request)
        if route is None or route.exchange is None or route.settings.exchange is None or self.exchanger is None:
            raise EngineFault("engine.invalid_result", "the policy exchanges a token on a route that exchanges none")
        if subject is None or not isinstance(token, str):
            return deny("engine.internal", "there is no token to exchange")
        wanted = route.exchange if asked is None else narrowed(route.exchange, route.settings.exchange, asked)
        answer = self.exchanger.cached(token, subject, wanted)
        trail.exchange_cached = answer is not None
        if answer is None:
            ends = until(self._clock.monotonic(), deadline, route.budget.exchange)
            answer = await self.exchanger.fetch(token, subject, wanted, ends, trail.continued(Stage.EXCHANGE))
        if isinstance(answer, Deny):
            return answer
        facts.granted = answer
        trail.exchange = answer.facts
        return None

    def _answer(self, decision: Decision, facts: Facts, trail: Trail) -> bytes:
        """Step 7. The only place where an answer is written, and only a value of type Allow becomes an allow."""
        route, request = facts.route, facts.request
        if isinstance(decision, Allow) and request is not None and route is not None:
            return self._allowed(decision, route, request, facts, trail)
        if isinstance(decision, Deny) and decision.code == OVERLOADED and route is not None and request is not None:
            grpc = respond.speaks_grpc(request)
            make = partial(self._denied, decision, facts, trail)
            return self._answers.refused(route, decision, trail.decision_id, make, grpc=grpc)
        return self._denied(decision, facts, trail)

    def _denied(self, decision: Decision, facts: Facts, trail: Trail) -> bytes:
        route = facts.route
        metadata = told.metadata(facts, trail)
        refused = decision if isinstance(decision, Deny) else _UNDECIDED
        metadata["layer"] = refused.layer.value
        metadata["code"] = refused.code
        detail, stronger = "message", ""
        if route is not None:
            detail = route.settings.detail
            stronger = step_up.parameters(route.settings.token) if refused.code == step_up.CODE else ""
        return respond.deny(refused, trail.decision_id, facts.request, metadata, detail, stronger)

    def _allowed(self, decision: Allow, route: Route, request: Request, facts: Facts, trail: Trail) -> bytes:
        credential = told.credential(route.settings, request, facts.granted)
        again = trail.decision_cached and not trail.mode and credential is None and not respond.spoofed(request)
        known = key(route, decision, facts.subject, facts.workload, trail.revision)
        if again and (answer := self._answers.get(known, trail.decision_id)):
            return answer
        headers = upstream_headers(
            decision,
            facts.subject,
            facts.workload,
            route.settings.name,
            trail.decision_id,
            route.policy_headers,
        )
        if trail.mode:
            headers.append((MODE, trail.mode))
        metadata = told.metadata(facts, trail)
        if decision.obligations.metadata:
            metadata["policy"] = decision.obligations.metadata
        answer = respond.allow(request, headers, metadata, remove=route.remove, credential=credential)
        if again:
            self._answers.keep(known, answer, trail.decision_id, decision, facts.subject, facts.workload)
        return answer
