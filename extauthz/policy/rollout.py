"""A candidate beside the live policy: which of the two answers a question, and what the other one would have said.

    1  out of scope (routes, tenants) or switched off: the live policy answers, nothing else happens
    2  promoted: the candidate answers; it is the policy now, and its faults are answered as any policy's
    3  percent: for its share of subjects or tenants, always the same ones, the candidate answers. When it has no
       answer, the live policy gives one in its place: half of the time is kept for that
    4  else the live policy answers
    5  a sample of the questions, and all that the candidate answered in 3, is put to the other policy as well, in a
       bounded queue off the path (`shadow`). What differs is counted, recorded and kept
    6  when the candidate denies more than the bound allows, it is taken back at once: here, and through the choice
       file in every other worker

Each policy has its own engine, cache and projection, so neither can answer from what the other has decided.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import EngineFault, ExtauthzError
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.projection import canonical
from extauthz.policy.rollout_difference import SAME, allows, culprit, difference, document, subject_id, tenant
from extauthz.policy.rollout_state import Choice, Phase
from extauthz.policy.rollout_window import Window
from extauthz.policy.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.policy.engine import Engine
    from extauthz.policy.projection import Projector
    from extauthz.policy.rollout_difference import Outcome
    from extauthz.policy.rollout_settings import CandidateSettings
    from extauthz.policy.rollout_state import Choices
    from extauthz.tasks import Tasks
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.recorder import Recorder

log = logging.getLogger(__name__)

COMPARISON_SECONDS: Final = 1.0
"""How long the other policy may think about a question that nobody waits for."""
_LOOK: Final = 1.0
"""Seconds between two looks at the choice file."""
_SHARES: Final = 10_000
_HUNDRED: Final = 100.0
_BRANCHES: Final = 1_000


@dataclass(slots=True, eq=False)
class Case:
    """What a rollout needs to know of a question: `policy_input` is the whole of it, before any projection."""

    route: str
    policy_input: Mapping[str, Any]
    decision_id: str


@dataclass(slots=True, eq=False)
class _Comparison:
    query: Query
    case: Case
    answer: Outcome
    by_candidate: bool


class Rollout:
    """`projectors`: the candidate's, by entrypoint. Takes over `candidate` and closes it; `live` stays its owner's."""

    def __init__(
        self,
        *,
        live: Engine,
        candidate: Engine,
        settings: CandidateSettings,
        projectors: Mapping[str, Projector],
        clock: Clock,
        metrics: Metrics,
        recorder: Recorder,
        choices: Choices,
        random: Callable[[], float],
    ) -> None:
        self._live = live
        self._candidate = candidate
        self._settings = settings
        self._projectors = projectors
        self._clock = clock
        self._metrics = metrics
        self._recorder = recorder
        self._choices = choices
        self._random = random
        self._window = Window(settings.rollback)
        self._shadow: Shadow[_Comparison] = Shadow(self._compare, room=settings.queue)
        self._ring: deque[dict[str, Any]] = deque(maxlen=settings.differences)
        self._totals: dict[tuple[str, str, str], int] = {}
        self._routes = frozenset(settings.routes)
        self._tenants = frozenset(settings.tenants)
        self._share = round(settings.percent / _HUNDRED * _SHARES)
        self._choice: Choice | None = None
        self._phase = Phase(settings.mode)
        self._stamp = 0
        self._tasks: Tasks | None = None

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def rollback_to(self) -> Phase:
        return Phase(self._settings.rollback.to)

    @property
    def revision(self) -> str:
        """Of the policy that answers: the candidate's once it is promoted."""
        return self._candidate.revision if self._phase is Phase.PROMOTED else self._live.revision

    async def ready(self) -> bool:
        """Whether whoever must answer can; a candidate in shadow does not count."""
        return await (self._candidate if self._phase is Phase.PROMOTED else self._live).ready()

    def start(self, tasks: Tasks) -> None:
        """Begins to compare, and to follow the choice file."""
        self._tasks = tasks
        self._shadow.start(tasks, self._settings.concurrency)
        tasks.start(self._follow(), "rollout")
        self._metrics.candidate(self.numbers)

    async def close(self) -> None:
        await self._candidate.close()

    async def evaluate(self, query: Query, case: Case) -> Evaluation:
        """Raises EngineFault as an engine does."""
        phase = self._phase
        if phase is Phase.PROMOTED:  # 2
            return await self._by_candidate(query, case)
        if phase is Phase.OFF or not self._covers(case):  # 1
            return await self._live.evaluate(query)
        if phase is Phase.PERCENT and self._selected(case):  # 3
            return await self._tried(query, case)
        if not self._sampled():  # 4
            return await self._live.evaluate(query)
        try:
            evaluation = await self._live.evaluate(query)
        except EngineFault as fault:
            self._shadow.offer(_Comparison(query, case, fault, by_candidate=False))
            raise
        self._shadow.offer(_Comparison(query, case, evaluation, by_candidate=False))  # 5
        return evaluation

    async def _by_candidate(self, query: Query, case: Case) -> Evaluation:
        sampled = self._sampled()
        try:
            evaluation = await self._candidate.evaluate(self._projected(query, case, query.deadline))
        except EngineFault as fault:
            if sampled:
                self._shadow.offer(_Comparison(query, case, fault, by_candidate=True))
            self._metrics.candidate_answered("fault")
            raise
        if sampled:
            self._shadow.offer(_Comparison(query, case, evaluation, by_candidate=True))
        self._metrics.candidate_answered("allow" if allows(evaluation) else "deny")
        return evaluation

    async def _tried(self, query: Query, case: Case) -> Evaluation:
        now = self._clock.monotonic()
        try:
            evaluation = await self._candidate.evaluate(self._projected(query, case, now + (query.deadline - now) / 2))
        except EngineFault as fault:
            self._metrics.candidate_answered("fault")
            instead = await self._live.evaluate(query)
            self._conclude(_Comparison(query, case, fault, by_candidate=True), instead, fault)
            return instead
        self._metrics.candidate_answered("allow" if allows(evaluation) else "deny")
        self._shadow.offer(_Comparison(query, case, evaluation, by_candidate=True))  # 5
        return evaluation

    def _covers(self, case: Case) -> bool:
        if self._routes and case.route not in self._routes:
            return False
        return not self._tenants or tenant(case.policy_input) in self._tenants

    def _selected(self, case: Case) -> bool:
        """The same answer for one subject or tenant on every server, and for a larger share whenever for a smaller."""
        by_tenant = self._settings.by == "tenant"
        key = tenant(case.policy_input) if by_tenant else subject_id(case.policy_input)
        if not key:
            return False
        digest = hashlib.blake2b(key.encode(errors="replace"), digest_size=4, person=b"extauthz-rollout").digest()
        return int.from_bytes(digest) % _SHARES < self._share

    def _sampled(self) -> bool:
        return self._random() * _HUNDRED < self._settings.sample

    def _projected(self, query: Query, case: Case, deadline: float) -> Query:
        project = self._projectors.get(query.entrypoint, canonical)
        return Query(query.entrypoint, project(case.policy_input), query.ttl, deadline)

    async def _compare(self, work: _Comparison) -> None:
        """5, the other policy's turn."""
        deadline = self._clock.monotonic() + COMPARISON_SECONDS
        other: Outcome
        try:
            if work.by_candidate:
                query = work.query
                other = await self._live.evaluate(Query(query.entrypoint, query.input, query.ttl, deadline))
            else:
                other = await self._candidate.evaluate(self._projected(work.query, work.case, deadline))
        except EngineFault as fault:
            other = fault
        live, candidate = (other, work.answer) if work.by_candidate else (work.answer, other)
        self._conclude(work, live, candidate)

    def _conclude(self, work: _Comparison, live: Outcome, candidate: Outcome) -> None:
        kind = difference(live, candidate)
        blamed = "" if kind == SAME else culprit(live, candidate)
        self._metrics.compared(work.case.route, kind, blamed)
        now = self._clock.monotonic()
        self._window.add(now, live_denied=not allows(live), candidate_denied=not allows(candidate))
        if kind != SAME:
            key = (kind, work.case.route, blamed)
            if key in self._totals or len(self._totals) < _BRANCHES:
                self._totals[key] = self._totals.get(key, 0) + 1
            found = document(
                kind,
                decision_id=work.case.decision_id,
                at=self._clock.now(),
                route=work.case.route,
                entrypoint=work.query.entrypoint,
                policy_input=work.case.policy_input,
                live=live,
                candidate=candidate,
                answered_by="candidate" if work.by_candidate and isinstance(candidate, Evaluation) else "live",
            )
            self._ring.append(found)
            self._recorder.add(found)
        if self._phase in {Phase.PERCENT, Phase.PROMOTED} and self._window.exceeded(now):
            self._take_back()

    def _take_back(self) -> None:
        """6"""
        rates = self._window.rates(self._clock.monotonic())
        bound = self._settings.rollback.max_denial_increase
        why = (
            f"the candidate denied {rates.candidate_denied} of {rates.compared}, the live policy {rates.live_denied}: "
            f"{rates.increase:.2f} percentage points more, {bound:g} are allowed"
        )
        choice = Choice(
            self._live.revision,
            self._candidate.revision,
            Phase(self._settings.rollback.to),
            "automatic",
            why,
            self._clock.now(),
        )
        log.error("candidate %s is rolled back from %s to %s: %s", choice.candidate, self._phase, choice.phase, why)
        self._metrics.candidate_rolled_back()
        self.apply(choice)
        if self._tasks is not None:
            self._tasks.start(self._keep(choice), "rollback")

    async def _keep(self, choice: Choice) -> None:
        try:
            await asyncio.to_thread(self._choices.write, choice)
        except ExtauthzError as error:
            log.error("the rollback: %s", error)  # noqa: TRY400 - no traceback for what is expected

    async def load(self) -> None:
        """Takes the choice that is in force; before the first question, and again when the file changes."""
        self._stamp = await asyncio.to_thread(self._choices.stamp)
        choice = await asyncio.to_thread(self._choices.read, self._live.revision, self._candidate.revision)
        if choice != self._choice:
            self.apply(choice)

    def apply(self, choice: Choice | None) -> None:
        """From now on; None is what the configuration says. What was compared before no longer counts."""
        before, self._choice = self._phase, choice
        self._phase = Phase(self._settings.mode) if choice is None else choice.phase
        self._window.clear()
        self._shadow.clear()
        if self._phase is not before:
            log.warning("candidate %s: %s → %s", self._candidate.revision, before, self._phase)
        if self._tasks is not None:  # before, nothing of this is active: a reload may still be refused
            self._metrics.policy(self.revision)

    async def choose(self, choice: Choice | None) -> str:
        """An operator's choice. Takes effect here at once, in other workers within a second.

        Empty when it is kept as well as the configuration asks for, else why not. Raises ExtauthzError for a choice
        that was made for other policies.
        """
        if choice is not None and (choice.live, choice.candidate) != (self._live.revision, self._candidate.revision):
            raise ExtauthzError("the policies are not the ones that the choice was made for")
        self.apply(choice)
        try:
            await asyncio.to_thread(self._choices.write, choice)
        except ExtauthzError as error:
            return str(error)
        return ""

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if await asyncio.to_thread(self._choices.stamp) != self._stamp:
                await self.load()

    def numbers(self) -> dict[str, Any]:
        """What metrics and status show, in JSON values."""
        rates = self._window.rates(self._clock.monotonic())
        return {
            "live": self._live.revision,
            "candidate": self._candidate.revision,
            "phase": self._phase.value,
            "waiting": len(self._shadow) + self._shadow.running,
            "dropped": self._shadow.dropped,
            "compared": rates.compared,
            "live_denied": rates.live_denied,
            "candidate_denied": rates.candidate_denied,
        }

    def status(self) -> dict[str, Any]:
        """Everything, for `extauthz policy status`: the differences newest first."""
        settings = self._settings
        totals = [
            {"difference": kind, "route": route, "code": blamed, "count": count}
            for (kind, route, blamed), count in sorted(self._totals.items(), key=lambda item: -item[1])
        ]
        return {
            **self.numbers(),
            "configured": settings.mode,
            "percent": settings.percent,
            "by": settings.by,
            "sample": settings.sample,
            "tenants": list(settings.tenants),
            "routes": list(settings.routes),
            "bound": {
                "max_denial_increase": settings.rollback.max_denial_increase,
                "min_decisions": settings.rollback.min_decisions,
                "window": settings.rollback.window,
                "to": settings.rollback.to,
            },
            "kept": bool(settings.state),
            "choice": None if self._choice is None else asdict(self._choice),
            "totals": totals,
            "differences": list(reversed(self._ring)),
        }
