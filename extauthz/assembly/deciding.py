"""Who decides under one generation."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from extauthz.check.compat import result as plugin_result
from extauthz.check.policy_stage import PolicyStage
from extauthz.policy import result
from extauthz.policy.engines import Engines
from extauthz.policy.projection import projector
from extauthz.policy.rollout import Rollout
from extauthz.policy.rollout_state import FILE as CHOICE_FILE
from extauthz.policy.rollout_state import Choices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extauthz.authn.revocation import Revocations
    from extauthz.clock import Clock
    from extauthz.config import Config
    from extauthz.endpoint import Endpoints
    from extauthz.generation import Generation
    from extauthz.model import Decision
    from extauthz.policy.engine import Engine
    from extauthz.policy.settings import PolicySettings
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Deciding:
    """Who decides: the policy's engine, the one in reserve, the candidate, and the stage where they are asked."""

    engine: Engine
    fallback: Engine | None
    rollout: Rollout | None
    stage: PolicyStage

    @classmethod
    async def build(
        cls,
        run_dir: Path,
        metrics: Metrics,
        clock: Clock,
        generation: Generation,
        config: Config,
        revocations: Revocations,
        endpoints: Endpoints,
        recorder: Recorder,
    ) -> Self:
        """The policy's engines. Raises as `build` does; none is left open then."""
        settings = config.policy
        engines = Engines(
            settings, clock=clock, read=_reader(settings), epoch=lambda: revocations.epoch, endpoints=endpoints
        )
        async with AsyncExitStack() as undo:
            engine = await engines.live(generation.policy, generation.report, generation.opa)
            undo.push_async_callback(engine.close)
            fallback = await engines.fallback(generation.fallback)
            if fallback is not None:
                undo.push_async_callback(fallback.close)
            rollout = await _rollout(
                generation, config, engines, engine, recorder, run_dir=run_dir, metrics=metrics, clock=clock
            )
            undo.pop_all()
        stage = PolicyStage(
            engine, metrics=metrics, clock=clock, engine_name=settings.engine, rollout=rollout, fallback=fallback
        )
        return cls(engine, fallback, rollout, stage)


async def _rollout(
    generation: Generation,
    config: Config,
    engines: Engines,
    live: Engine,
    recorder: Recorder,
    *,
    run_dir: Path,
    metrics: Metrics,
    clock: Clock,
) -> Rollout | None:
    """The candidate beside the live policy, with an engine, a cache and projections of its own."""
    candidate, settings = generation.candidate, config.policy
    if candidate is None or settings.candidate is None:
        return None
    rollout = Rollout(
        live=live,
        candidate=await engines.candidate(candidate.policy, candidate.report, candidate.opa),
        settings=settings.candidate,
        projectors={name: projector(analysis) for name, analysis in candidate.report.analyses.items()},
        clock=clock,
        metrics=metrics,
        recorder=recorder,
        choices=Choices(run_dir / CHOICE_FILE, settings.candidate.state),
        random=random.random,
    )
    await rollout.load()
    return rollout


def _reader(settings: PolicySettings) -> Callable[[Any], Decision]:
    """What makes a decision of the policy's result."""
    return plugin_result.read if settings.compat else result.parse
