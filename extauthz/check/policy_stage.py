"""The policy stage: one question to the policy, wherever it came from, accounted and staged.

Envoy's Checks and AuthZEN's evaluations meet here, so both see the same cache, the same candidate, the same metrics.
Where a route degrades, the last known good policy answers in this process when the engine does not (`ask_fallback`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.errors import EngineFault
from extauthz.policy.rollout import Case

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from extauthz.clock import Clock
    from extauthz.policy.engine import Engine, Evaluation, Query
    from extauthz.policy.rollout import Rollout
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.trail import Trail


FALLBACK: Final = "fallback"
"""What records call the engine that answers in place of the one that is away."""


class PolicyStage:
    """`engine_name` is what records say. `rollout` None: there is no candidate; `fallback` None: no route degrades."""

    __slots__ = ("_clock", "_engine", "_engine_name", "_fallback", "_metrics", "_rollout", "answered", "asking")

    def __init__(
        self,
        engine: Engine,
        *,
        metrics: Metrics,
        clock: Clock,
        engine_name: str = "",
        rollout: Rollout | None = None,
        fallback: Engine | None = None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._engine_name = engine_name
        self._rollout = rollout
        self._fallback = fallback
        self.asking = 0
        """Questions that wait for an answer now."""
        self.answered = 0
        """Questions that had one, since the start; without faults."""

    async def ask(self, query: Query, policy_input: Mapping[str, Any], trail: Trail, part: float = 1.0) -> Evaluation:
        """`policy_input` is the whole of what `query.input` is a projection of. Raises EngineFault.

        `part` is the engine's of the time that is left (`budget`). The time that it took is accounted, also when it
        failed.
        """
        trail.engine = self._engine_name
        trail.decision_cached = False
        trail.policy_input = policy_input
        trail.projected = query.input
        started = self._clock.monotonic()
        query.deadline = started + (query.deadline - started) * part  # `budget.until`, without a call on the hot path
        self.asking += 1
        try:
            if self._rollout is None:
                evaluation = await self._engine.evaluate(query)
            else:
                evaluation = await self._rollout.evaluate(
                    query, Case(trail.route.name, policy_input, trail.decision_id)
                )
        except EngineFault:
            self._metrics.upstream("opa", self._clock.monotonic() - started, good=False)
            raise
        finally:
            self.asking -= 1
        self.answered += 1
        if not evaluation.cached:
            self._metrics.upstream("opa", self._clock.monotonic() - started)
        trail.revision = evaluation.revision
        trail.decision_cached = evaluation.cached
        return evaluation

    async def ask_fallback(self, query: Query, policy_input: Mapping[str, Any], trail: Trail) -> Evaluation:
        """The last known good policy's answer, by a policy input that says who is missing. It is kept nowhere.

        Raises EngineFault.
        """
        if self._fallback is None:
            raise EngineFault("engine.unavailable", "there is no policy to fall back on")
        trail.engine = FALLBACK
        trail.decision_cached = False
        trail.policy_input = policy_input
        trail.projected = query.input
        evaluation = await self._fallback.evaluate(query)
        trail.revision = evaluation.revision
        return evaluation
