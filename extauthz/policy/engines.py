"""From policy settings to the engines of one generation: the policy in force, and a candidate beside it.

What has been made ready (files, analyses, a supervised OPA's address) is handed in; `ready` and `opening` make it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from extauthz.policy.absent import AbsentEngine
from extauthz.policy.agreed import AgreedEngine
from extauthz.policy.cached import CachedEngine
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.native import find_library
from extauthz.policy.sidecar import NAME, SidecarEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.clock import Clock
    from extauthz.endpoint import Endpoints
    from extauthz.model import Decision
    from extauthz.policy.engine import Engine
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Report
    from extauthz.policy.settings import PolicySettings


class Engines:
    """`read` makes a decision of the policy's result; `epoch` is the revocations'. Each OPA is one of `endpoints`."""

    def __init__(
        self,
        settings: PolicySettings,
        *,
        clock: Clock,
        read: Callable[[Any], Decision],
        epoch: Callable[[], int],
        endpoints: Endpoints,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._clock = clock
        self._read = read
        self._epoch = epoch

    async def live(self, policy: PolicyFiles | None, report: Report | None, opa: str) -> Engine:
        """`opa` is the address of a supervised OPA, empty when there is none. Raises EngineFault or MissingPart."""
        settings = self._settings
        engine: Engine
        if settings.engine == "embedded" and policy is not None:
            engine = await self._embedded(policy)
        elif opa or settings.sidecar.address:
            revision = "" if policy is None else policy.revision
            engine = self._sidecar(NAME, opa or settings.sidecar.address, revision if opa else None)
            if not opa and policy is not None:
                engine = AgreedEngine(engine, revision)
        else:
            engine = AbsentEngine()
        return self._cached(engine, report)

    async def candidate(self, policy: PolicyFiles, report: Report, opa: str) -> Engine:
        """With a cache of its own."""
        embedded = self._settings.engine == "embedded"
        engine = await self._embedded(policy) if embedded else self._sidecar(f"{NAME}-candidate", opa, policy.revision)
        return self._cached(engine, report)

    async def fallback(self, policy: PolicyFiles | None) -> Engine | None:
        """The last known good policy in this process, for routes that degrade; None: none does. Raises as `live` does.

        It is loaded now, so that nothing has to be had in the moment of need: no file, no process, no network. Its
        answers are kept nowhere: they end with the failure.
        """
        return None if policy is None else await self._embedded(policy)

    async def _embedded(self, policy: PolicyFiles) -> Engine:
        loaded = await asyncio.to_thread(LoadedPolicy, find_library(), policy)
        return EmbeddedEngine(loaded, settings=self._settings.embedded, clock=self._clock, read=self._read)

    def _sidecar(self, name: str, address: str, revision: str | None) -> Engine:
        settings = self._settings.sidecar
        engine = SidecarEngine(
            address,
            settings=settings,
            clock=self._clock,
            revision=revision,
            read=self._read,
            endpoint=self._endpoints.make(name, settings.timeout, settings.breaker),
        )
        engine.start()
        return engine

    def _cached(self, engine: Engine, report: Report | None) -> Engine:
        settings = self._settings.cache
        if not settings.enabled:
            return engine
        caps = {} if report is None else {name: a.ttl_cap(settings.clock_ttl) for name, a in report.analyses.items()}
        # Of an OPA of the operator's own we do not know whether its policy reads the time.
        return CachedEngine(
            engine,
            settings=settings,
            clock=self._clock,
            epoch=self._epoch,
            cap=lambda entrypoint: caps.get(entrypoint, settings.clock_ttl),
        )
