"""What a worker serves.

`Application` holds one `Active`, built as a whole from one generation (`assembly`). A reload builds the next one beside
it and swaps a single reference, so every Check runs under one configuration from end to end.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from extauthz import __version__
from extauthz.api.messages import ApiRequest
from extauthz.assembly import Assembly
from extauthz.authzen.evaluator import ROUTE as AUTHZEN_ROUTE
from extauthz.clock import Clock, SystemClock
from extauthz.errors import ExtauthzError
from extauthz.generation import Generation
from extauthz.policy.cached import CachedEngine
from extauthz.tasks import Tasks
from extauthz.telemetry import logs
from extauthz.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.assembly import Active

log = logging.getLogger(__name__)
_GRACE: Final = 1.0
"""Seconds beyond the longest Check before what a reload replaced is closed."""


class Application:
    """Implements `transport.service.Service`. `run_dir` holds the generation that the parent wrote."""

    def __init__(self, run_dir: Path, *, transport: str = "", clock: Clock | None = None) -> None:
        self._run_dir = run_dir
        self._transport = transport
        self._clock = clock or SystemClock()
        self._metrics = Metrics(version=__version__)
        self._assembly = Assembly(run_dir, transport, self._clock, self._metrics)
        self._tasks = Tasks()
        self._active: Active | None = None
        self._draining = False

    async def start(self) -> None:
        """Raises ConfigError, EngineFault or MissingPart."""
        generation = await asyncio.to_thread(Generation.read, self._run_dir)
        self._activate(await self._assembly.build(generation, self._active))

    async def stop(self) -> None:
        await self._tasks.close()
        if self._active is not None:
            await self._active.close()

    async def check(self, message: bytes, budget: float) -> bytes:
        active = self._active
        if active is None:
            raise RuntimeError("not started")
        self._metrics.in_flight += 1
        try:
            return await active.pipeline.check(message, budget)
        finally:
            self._metrics.in_flight -= 1

    async def api(self, request: dict[str, Any]) -> dict[str, Any]:
        active = self._active
        if active is None:
            raise RuntimeError("not started")
        return (await active.api.handle(ApiRequest.of(request))).plain()

    def drain(self) -> None:
        self._draining = True

    async def status(self) -> dict[str, Any]:
        active = self._active
        if active is None:
            return {"ready": False, "draining": self._draining}
        answering = active.rollout or active.engine
        engine_ready = await answering.ready()
        identity = active.identity
        return {
            "ready": engine_ready and not self._draining and (identity is None or identity.ready),
            "draining": self._draining,
            "generation": active.generation.number,
            "transport": self._transport,
            "engine": {
                "kind": active.config.policy.engine,
                "ready": engine_ready,
                "revision": answering.revision,
            },
            "candidate": None if active.rollout is None else active.rollout.numbers(),
            "identity": None if identity is None else identity.status(),
            "audit": None if active.audit is None else active.audit.numbers(),
            "breakers": active.endpoints.open(),
            "issuers": active.keys.status(),
            "api_keys": active.api_keys.status(),
            "routes": len(active.config.routes),
        }

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        if (active := self._active) is not None:
            # An OPA of the operator's own changes its policy without a reload of ours.
            self._metrics.policy((active.rollout or active.engine).revision)
        return self._metrics.render(openmetrics=openmetrics)

    async def reload(self) -> list[str]:
        """Activates the generation that the parent has prepared. On any problem the running one stays."""
        try:
            generation = await asyncio.to_thread(Generation.read, self._run_dir)
            fresh = await self._assembly.build(generation, self._active)
        except ExtauthzError as error:
            self._metrics.reload("refused")
            return str(error).splitlines()
        old = self._active
        self._activate(fresh)
        self._metrics.reload("ok")
        if old is not None:
            if old.office is not None and old.office is not fresh.office:
                old.office.use(None)
            self._tasks.start(_retire(old, fresh), "retire")
        return []

    def _activate(self, fresh: Active) -> None:
        self._active = fresh
        config = fresh.config
        self._metrics.know(
            (AUTHZEN_ROUTE, *(route.name for route in config.routes)),
            {service for route in config.routes if (service := route.service)},
        )
        self._metrics.limit_policy_codes(config.telemetry.metrics.max_policy_codes)
        logs.set_level(config.telemetry.log_level)
        self._metrics.candidate(fresh.rollout.numbers if fresh.rollout else None)
        self._metrics.revocations(fresh.revocations.numbers)
        self._metrics.cache_entries("token", lambda: fresh.tokens.entries)
        if (exchanger := fresh.pipeline.exchanger) is not None:
            self._metrics.cache_entries("exchange", lambda: exchanger.entries)
        admission = fresh.pipeline.admission
        self._metrics.measure("extauthz_shed_level", lambda: {} if admission is None else {(): admission.level})
        self._metrics.measure(
            "extauthz_breaker_state",
            lambda: {(name,): state for name, state in fresh.endpoints.states().items()},
        )
        audit = fresh.audit
        self._metrics.measure("extauthz_audit_sink_dropped", lambda: {} if audit is None else audit.sinks_dropped())
        self._metrics.measure("extauthz_audit_waiting", lambda: {} if audit is None else {(): audit.waiting})
        self._metrics.measure("extauthz_audit_healthy", lambda: {} if audit is None else {(): int(audit.healthy)})
        if fresh.background is not None:
            fresh.background.open(fresh.pipeline)
        measured = {} if fresh.office is None else fresh.office.gauges()
        for name in ("extauthz_judgement_queue", "extauthz_judgement_lag_seconds", "extauthz_quarantines"):
            self._metrics.measure(name, measured.get(name, dict))
        limits: dict[tuple[str, ...], float] = {}
        if config.judgement is not None:
            limits[()] = config.judgement.max_waiting
        self._metrics.measure("extauthz_judgement_queue_limit", lambda: limits)
        engine = fresh.engine
        if isinstance(engine, CachedEngine):
            self._metrics.cache_entries("decision", lambda: engine.stats.entries)


async def _retire(old: Active, successor: Active) -> None:
    """Closed once no Check can still run under it, or when the server stops."""
    try:
        await asyncio.sleep(old.config.server.max_deadline + _GRACE)
    finally:
        await old.close(successor)
