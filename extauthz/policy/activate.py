"""A policy → an engine that is ready, with what each entrypoint can read. The one place where the parts meet.

An `ActivePolicy` is one policy revision: its engine never answers by another one, and its projectors were made for
it. A Check takes one and uses it to the end; a reload makes a new one, and closes the old one when it is no longer
used. A policy that cannot be activated changes nothing.

1. Read the directory once, bounded; name it by its digest.
2. Compile and analyse it with OPA. A problem is told with file and line.
3. Refuse a route's entrypoint that no rule answers.
4. Start the engine on exactly these bytes, and wait until it is ready.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ConfigError, ConfigProblem, EngineFault
from extauthz.policy.cached import CachedEngine
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.loader import load
from extauthz.policy.native import find_library, find_tool
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.projection import Analysis, analyse, canonical, projector
from extauthz.policy.sidecar import SidecarEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from extauthz.clock import Clock
    from extauthz.policy.cached import CacheStats
    from extauthz.policy.engine import Engine, Evaluation, Query
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Projector, Report
    from extauthz.policy.settings import PolicySettings

log = logging.getLogger(__name__)

NOT_KNOWN: Final = ("time.now_ns",)
"""What an OPA that is not ours is taken to use: its policy is not seen here, so its answers live for a moment only."""


class NoPolicy:
    """The engine of an empty configuration: it has no answer to anything."""

    revision = ""

    async def evaluate(self, query: Query) -> Evaluation:
        raise EngineFault("engine.undefined", f"no policy is configured; {query.entrypoint} has no answer")

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        return None


class ActivePolicy:
    """`engine` decides; `project` cuts the policy input for an entrypoint; `analyses` say what each can read."""

    def __init__(
        self,
        engine: Engine,
        analyses: Mapping[str, Analysis],
        *,
        opa: OpaProcess | None = None,
        directory: Path | None = None,
    ) -> None:
        self.engine = engine
        self.analyses = analyses
        self.opa = opa
        self._directory = directory
        self._projectors: dict[str, Projector] = {name: projector(one) for name, one in analyses.items()}

    @property
    def revision(self) -> str:
        return self.engine.revision

    def project(self, entrypoint: str, document: Mapping[str, Any]) -> bytes:
        """Canonical JSON of what the policy at the entrypoint can read; all of it where that is not known."""
        return self._projectors.get(entrypoint, canonical)(document)

    @property
    def cache(self) -> CacheStats | None:
        """The cache's counters; None where decisions are not reused."""
        return self.engine.stats if isinstance(self.engine, CachedEngine) else None

    async def close(self) -> None:
        await self.engine.close()
        if self.opa is not None:
            await self.opa.stop()
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)


def read(settings: PolicySettings, entrypoints: Collection[str]) -> tuple[PolicyFiles, Report]:
    """Steps 1 to 3 with the tool, for `config check` and before an activation; blocks. Raises ConfigError."""
    if settings.path is None:
        raise ConfigError((ConfigProblem("", 0, "policy.path", "no policy is configured", "name its directory"),))
    policy = load(settings.path, max_bytes=settings.max_bytes, max_files=settings.max_files)  # 1
    report = analyse(find_tool(), policy, entrypoints)  # 2
    _all_defined(report, entrypoints, policy.root)  # 3
    return policy, report


async def activate(
    settings: PolicySettings,
    entrypoints: Collection[str],
    *,
    clock: Clock,
    epoch: Callable[[], int],
    run_dir: Path | None = None,
) -> ActivePolicy:
    """`entrypoints` are those that the routes name, as `extauthz/main/decision`. `run_dir`: where sockets may stand.

    Raises ConfigError (the policy, with file and line), MissingPart, or EngineFault (the engine does not start).
    """
    if settings.path is None and (settings.engine == "embedded" or settings.sidecar.supervise):
        return ActivePolicy(NoPolicy(), {})
    if settings.engine == "embedded":
        return await _embedded(settings, entrypoints, clock, epoch)
    if settings.sidecar.supervise:
        return await _supervised(settings, entrypoints, clock, epoch, run_dir)
    analyses = {name: Analysis(name, nondeterministic=NOT_KNOWN) for name in entrypoints}
    engine = SidecarEngine(settings.sidecar.address, settings=settings.sidecar, clock=clock)
    engine.start()
    return ActivePolicy(_cached(engine, analyses, settings, clock, epoch), analyses)


async def _embedded(
    settings: PolicySettings, entrypoints: Collection[str], clock: Clock, epoch: Callable[[], int]
) -> ActivePolicy:
    def prepare() -> tuple[LoadedPolicy, Report]:
        path = settings.path or Path()
        policy = load(path, max_bytes=settings.max_bytes, max_files=settings.max_files)  # 1
        loaded = LoadedPolicy(find_library(), policy)
        try:
            report = loaded.describe(entrypoints)  # 2
            _all_defined(report, entrypoints, policy.root)  # 3
        except BaseException:
            loaded.free()
            raise
        return loaded, report

    loaded, report = await asyncio.to_thread(prepare)
    engine = EmbeddedEngine(loaded, settings=settings.embedded, clock=clock)  # 4
    return ActivePolicy(_cached(engine, report.analyses, settings, clock, epoch), report.analyses)


async def _supervised(
    settings: PolicySettings,
    entrypoints: Collection[str],
    clock: Clock,
    epoch: Callable[[], int],
    run_dir: Path | None,
) -> ActivePolicy:
    policy, report = await asyncio.to_thread(read, settings, entrypoints)
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="opa-", dir=run_dir))
    opa = OpaProcess(find_tool(), policy.bundle(), directory, clock=clock)
    try:
        await opa.start()  # 4
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    engine = SidecarEngine(opa.address, settings=settings.sidecar, clock=clock, revision=policy.revision)
    cached = _cached(engine, report.analyses, settings, clock, epoch)
    return ActivePolicy(cached, report.analyses, opa=opa, directory=directory)


def _cached(
    engine: Engine,
    analyses: Mapping[str, Analysis],
    settings: PolicySettings,
    clock: Clock,
    epoch: Callable[[], int],
) -> Engine:
    if not settings.cache.enabled:
        return engine
    caps = {name: one.ttl_cap(settings.cache.clock_ttl) for name, one in analyses.items()}
    for name, seconds in caps.items():
        if seconds < settings.cache.ttl:
            builtins = ", ".join(analyses[name].nondeterministic)
            log.warning("decisions of %s are reused for at most %s s: it may read %s", name, seconds, builtins)

    def cap(entrypoint: str) -> float:
        return caps.get(entrypoint, 0.0)

    return CachedEngine(engine, settings=settings.cache, clock=clock, epoch=epoch, cap=cap)


def _all_defined(report: Report, entrypoints: Collection[str], root: Path) -> None:
    problems = [
        ConfigProblem(str(root), 0, name, "a route names this entrypoint, and no rule answers there", "correct either")
        for name in entrypoints
        if not report.analyses[name].defined
    ]
    if problems:
        raise ConfigError(tuple(problems))
