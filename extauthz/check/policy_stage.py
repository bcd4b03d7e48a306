"""The policy stage: one question to the policy, wherever it came from, accounted and staged.

Envoy's Checks and AuthZEN's evaluations meet here, so both see the same cache, the same candidate, the same metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class PolicyStage:
    """`engine_name` is what records say. `rollout` None: there is no candidate."""

    __slots__ = ("_clock", "_engine", "_engine_name", "_metrics", "_rollout")

    def __init__(
        self,
        engine: Engine,
        *,
        metrics: Metrics,
        clock: Clock,
        engine_name: str = "",
        rollout: Rollout | None = None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._engine_name = engine_name
        self._rollout = rollout

    async def ask(self, query: Query, policy_input: Mapping[str, Any], trail: Trail) -> Evaluation:
        """`policy_input` is the whole of what `query.input` is a projection of. Raises EngineFault.

        The time that an engine took is accounted, also when it failed.
        """
        trail.engine = self._engine_name
        trail.decision_cached = False
        trail.policy_input = policy_input
        trail.projected = query.input
        started = self._clock.monotonic()
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
        if not evaluation.cached:
            self._metrics.upstream("opa", self._clock.monotonic() - started)
        trail.revision = evaluation.revision
        trail.decision_cached = evaluation.cached
        return evaluation
