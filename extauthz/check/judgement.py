"""Asynchronous routes: what is proven now and judged later, by the very pipeline that judges everything else.

    1  accept   steps 1–4 of the Check are done: caller and credential are proven. What the route reads of the request
                goes into the queue, and the request goes on with `x-extauthz-mode: async`
    2  judge    steps 5 and 6 by the configuration now active, never open and never degraded: there is time to ask again
    3  tell     audit trail, record, metric and alert; a violation counts for whom step 1 had proven

What does not fit into the queue is judged at once, or refused, as the route says (`judgement.when_full`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from extauthz.attributes.settings import RequestSource
from extauthz.audit.fault import AuditError
from extauthz.check.failure_settings import plan_of
from extauthz.check.judgement_record import alert_of, record_of, started_of
from extauthz.check.pipeline import Facts
from extauthz.codes import Layer
from extauthz.errors import EngineFault
from extauthz.judgement.entry import Entry, Reads
from extauthz.judgement.judge import Judged
from extauthz.judgement.quarantine import key_of
from extauthz.judgement.queue import Strike, Waiting
from extauthz.judgement.verdict import Verdict
from extauthz.model import Allow, Deny, deny
from extauthz.telemetry.trail import Trail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.attributes.settings import AttributesSettings
    from extauthz.audit.trail import AuditTrail
    from extauthz.check.pipeline import Pipeline, Route
    from extauthz.check.routes import RouteSettings
    from extauthz.clock import Clock
    from extauthz.judgement.office import Office
    from extauthz.judgement.quarantine import Quarantine
    from extauthz.model import Decision
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.recorder import Recorder

log = logging.getLogger(__name__)
MODE: Final = "async"
_ACCEPTED: Final = Allow()
_SHARE: Final = 0.5
"""Of the time that the caller has left, what the queue may take: the rest is for judging at once."""
_FRAMING: Final = frozenset(
    {"content-type", "content-length", "content-encoding", "transfer-encoding", "grpc-encoding"}
)
_CLOSED: Final = plan_of("closed", effects=False)
_MAX_ANNOUNCED: Final = 10_000


def reads(route: RouteSettings, attributes: AttributesSettings) -> Reads:
    """What the route's attribute sources read of a request."""
    sources = {source.name: source for source in attributes.sources}
    headers: set[str] = set()
    query = body = False
    for use in route.attributes:
        source = sources.get(use.source)
        if not isinstance(source, RequestSource):
            continue
        for name in use.to.values():
            kind, _, argument = source.fields[name].source.partition(":")
            query = query or kind == "query"
            if kind == "header":
                headers.add(argument)
            elif kind in {"body", "grpc"}:
                headers |= _FRAMING
                body = body or kind == "body" or argument == "size"
    return Reads(frozenset(headers), query, body)


class Background:
    """One a generation. Implements `hooks.Judgement`, and `judgement.judge.Desk` once it is `open`."""

    def __init__(
        self,
        office: Office,
        routes: Iterable[Route],
        attributes: AttributesSettings,
        *,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        audit: AuditTrail | None = None,
    ) -> None:
        self._office = office
        self._routes = {route.settings.name: replace(route, failure=_CLOSED) for route in routes}
        self._reads = {name: reads(route.settings, attributes) for name, route in self._routes.items()}
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._audit = audit
        self._pipeline: Pipeline | None = None
        self._announced: OrderedDict[str, None] = OrderedDict()

    def open(self, pipeline: Pipeline) -> None:
        """From now on `pipeline` judges what waits."""
        self._pipeline = pipeline
        rules = {name: route.settings.judgement for name, route in self._routes.items()}
        guarded = {name: rule.quarantine for name, rule in rules.items() if rule is not None and rule.quarantine}
        everywhere = any(rule.scope == "everywhere" for rule in guarded.values())
        self._office.confined.guard(guarded, everywhere=everywhere)
        self._office.use(self)

    async def accept(self, facts: Facts, trail: Trail, deadline: float) -> Decision | None:
        """Step 1; as `hooks.Judgement.accept`."""
        route, request = facts.route, facts.request
        if route is None or request is None:
            return deny("engine.internal", "nothing is proven that could be judged")
        trail.trace()
        entry = Entry(
            decision_id=trail.decision_id,
            started=trail.started,
            accepted=self._clock.now(),
            route=route.settings.name,
            request=request,
            variables=facts.variables or {},
            resource_id=trail.resource_id,
            workload=facts.workload,
            subject=facts.subject,
            kept=self._reads[route.settings.name],
            trace_id=trail.trace_id,
            parent_id=trail.parent_id,
            sampled=trail.sampled,
        )
        body = entry.dump(self._office.settings.max_entry)
        if body is not None:
            seconds = (deadline - self._clock.monotonic()) * _SHARE
            if await self._office.put(Waiting(entry.decision_id, body, entry.accepted), seconds):
                trail.mode = MODE
                return _ACCEPTED
        rule = route.settings.judgement
        if rule is not None and rule.when_full == "refuse":
            why = "the request is larger than judgement.max_entry" if body is None else "the queue takes no more"
            return deny("engine.queue_full", why)
        return None

    async def judge(self, entry: Entry) -> Judged | None:
        """Step 2; as `Desk.judge`."""
        route = self._routes.get(entry.route)
        if route is None:
            return Judged(self.unjudged(entry, "request.route_unknown", "the configuration has this route no more"))
        if not self._reads[entry.route].within(entry.kept):
            what = "the route reads more of a request now than was kept of this one"
            return Judged(self.unjudged(entry, "request.route_mismatch", what))
        trail = _trail(entry, route)
        decision = await self._decided(entry, route, trail)
        if decision is None:
            return None
        now = self._clock.now()
        verdict = Verdict(
            decision_id=entry.decision_id,
            request_id=entry.request.id,
            route=entry.route,
            outcome="allowed",
            at=now,
            lag=max(now - entry.accepted, 0.0),
            revision=trail.revision,
            engine=trail.engine,
        )
        if not isinstance(decision, Deny):
            return Judged(verdict)
        strike = _strike(entry, route)
        culprit = "" if strike is None else strike.key.text
        reason = decision.reasons[0]
        denied = replace(verdict, outcome="denied", code=reason.code, detail=reason.detail, culprit=culprit)
        return Judged(denied, strike)

    async def _decided(self, entry: Entry, route: Route, trail: Trail) -> Decision | None:
        """None: a part failed."""
        pipeline, seconds = self._pipeline, self._office.settings.timeout
        if pipeline is None:
            return None
        facts = Facts(
            request=entry.request,
            route=route,
            variables=entry.variables,
            workload=entry.workload,
            subject=entry.subject,
        )
        try:
            async with asyncio.timeout(seconds):
                decision = await pipeline.judge(facts, trail, self._clock.monotonic() + seconds)
        except (EngineFault, TimeoutError):
            return None
        except Exception:
            log.exception("the judgement of %s failed", entry.decision_id)
            return None
        return None if isinstance(decision, Deny) and decision.layer is Layer.ENGINE else decision

    def unjudged(self, entry: Entry, code: str, detail: str) -> Verdict:
        """As `Desk.unjudged`."""
        now = self._clock.now()
        return Verdict(
            decision_id=entry.decision_id,
            request_id=entry.request.id,
            route=entry.route,
            outcome="reported",
            at=now,
            lag=max(now - entry.accepted, 0.0),
            code=code,
            detail=detail,
        )

    async def tell(self, entry: Entry | None, verdict: Verdict, quarantine: Quarantine | None) -> bool:
        """Step 3; as `Desk.tell`. What is only counted is counted once, however often the audit trail is asked."""
        route = self._routes.get(verdict.route)
        facts = None if route is None else route.facts
        document = record_of(entry, verdict, facts)
        if verdict.decision_id not in self._announced:
            self._announced[verdict.decision_id] = None
            if len(self._announced) > _MAX_ANNOUNCED:
                self._announced.popitem(last=False)
            self._announce(entry, verdict, quarantine, document)
        if self._audit is not None:
            try:
                await self._audit.write("decision.judged", _without(document, "type", "timestamp"))
                if quarantine is not None:
                    await self._audit.write("quarantine.started", started_of(quarantine))
            except AuditError:
                return False
        self._announced.pop(verdict.decision_id, None)
        return True

    def _announce(
        self, entry: Entry | None, verdict: Verdict, quarantine: Quarantine | None, document: dict[str, object]
    ) -> None:
        self._metrics.count("extauthz_judgements_total", verdict.route or "none", verdict.outcome)
        if verdict.lag > self._office.settings.lag_slo:
            self._metrics.count("extauthz_judgements_late_total", verdict.route or "none")
        self._recorder.add(document)
        if (alerts := self._office.alerts) is not None and verdict.outcome != "allowed":
            alerts.add(alert_of(entry, verdict, quarantine))
        if quarantine is not None:
            log.warning("quarantine of %s until %.0f", quarantine.key.text, quarantine.until)


def _trail(entry: Entry, route: Route) -> Trail:
    trail = Trail(entry.started)
    trail.decision_id = entry.decision_id
    trail.route = route.facts
    trail.describe(entry.request)
    trail.resource_id = entry.resource_id
    trail.trace_id, trail.parent_id, trail.sampled = entry.trace_id, entry.parent_id, entry.sampled
    return trail


def _strike(entry: Entry, route: Route) -> Strike | None:
    rule = route.settings.judgement
    if rule is None or (limits := rule.quarantine) is None:
        return None
    key = key_of(limits, entry.route, entry.workload, entry.subject)
    if key is None:
        return None
    return Strike(key, entry.decision_id, entry.accepted, limits.strikes, limits.window, limits.duration)


def _without(document: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in document.items() if name not in names}
