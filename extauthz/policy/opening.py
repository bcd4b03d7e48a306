"""From policy settings to a policy: the files of a directory or a bundle, and an engine over them for one process.

`extauthz serve` shares its policy between workers and reloads it (`shared`); the authority opens one for itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError
from extauthz.outbound import Outbound
from extauthz.policy import bundle, loader
from extauthz.policy.absent import AbsentEngine
from extauthz.policy.archive import Limits
from extauthz.policy.bundle_keeper import BundleKeeper
from extauthz.policy.bundle_sources import FileSource, HttpSource
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.native import find_library
from extauthz.policy.ready import Preparation, Proof, ReadyPolicy
from extauthz.policy.sidecar import SidecarEngine

if TYPE_CHECKING:
    import ssl

    from extauthz.clock import Clock
    from extauthz.policy.bundle_settings import BundleSettings
    from extauthz.policy.engine import Engine
    from extauthz.policy.settings import PolicySettings


def limits_of(settings: PolicySettings) -> Limits:
    return Limits(settings.max_bytes, settings.max_bytes, settings.max_files)


def read_files(path: Path | None, settings: PolicySettings) -> loader.PolicyFiles:
    """A directory, or a policy bundle file, which must be signed when the configuration names keys.

    Raises ConfigError.
    """
    if path is None:
        raise ConfigError((ConfigProblem("", 0, "policy.path", "names no policy", "name a directory"),))
    if path.is_file():
        trust = bundle.trust_of(settings.bundle) if settings.bundle is not None else bundle.Trust()
        return bundle.read_file(path, trust=replace(trust, required=False), limits=limits_of(settings)).policy
    return loader.load(path, max_bytes=settings.max_bytes, max_files=settings.max_files)


def keeper_of(
    settings: BundleSettings,
    limits: Limits,
    trust: bundle.Trust,
    verify: ssl.SSLContext | bool,  # noqa: FBT001 - httpx's word
) -> BundleKeeper:
    """`verify` is whom a bundle server must be vouched for by (`outbound.verify`)."""
    source: FileSource | HttpSource
    if settings.file is not None:
        source = FileSource(settings.file, limits.packed)
    else:
        outbound = Outbound([settings.url], timeout=settings.timeout, verify=verify)
        source = HttpSource(settings, limits.packed, outbound=outbound)
    return BundleKeeper(source, trust=trust, limits=limits, keep=Path(settings.keep) if settings.keep else None)


@dataclass(frozen=True, slots=True)
class OpenedPolicy:
    """An engine of one's own, with all that it rests on."""

    engine: Engine
    ready: ReadyPolicy | None
    keeper: BundleKeeper | None

    async def close(self) -> None:
        await self.engine.close()
        if self.ready is not None and self.ready.opa is not None:
            await self.ready.opa.stop()
        if self.keeper is not None:
            await self.keeper.close()


async def open_policy(
    settings: PolicySettings, *, entrypoint: str, run_dir: Path, clock: Clock, verify: ssl.SSLContext | bool = True
) -> OpenedPolicy:
    """The policy for one entrypoint, which it must have; without any policy, an engine that refuses every question.

    `run_dir` is private. Raises ConfigError, EngineFault or MissingPart; nothing is left running then.
    """
    supervised = settings.engine == "embedded" or settings.sidecar.supervise
    if not supervised:
        foreign = SidecarEngine(settings.sidecar.address, settings=settings.sidecar, clock=clock)
        foreign.start()
        return OpenedPolicy(foreign, None, None)
    if settings.path is None and settings.bundle is None:
        return OpenedPolicy(AbsentEngine(), None, None)
    preparation = Preparation(run_dir, clock, sidecar=settings.engine == "sidecar", entrypoints=[entrypoint])
    keeper = None
    try:
        if settings.bundle is None:
            files = await asyncio.to_thread(read_files, settings.path, settings)
            ready = await preparation.ready(files)
        else:
            trust = await asyncio.to_thread(bundle.trust_of, settings.bundle)
            keeper = keeper_of(settings.bundle, limits_of(settings), trust, verify)
            ready = await _first_good(keeper, preparation, settings.bundle)
        return await _opened(ready, keeper, settings, entrypoint, clock)
    except BaseException:
        if keeper is not None:
            await keeper.close()
        raise


async def _first_good(keeper: BundleKeeper, preparation: Preparation, settings: BundleSettings) -> ReadyPolicy:
    """The first bundle that answers its own decision cases; it is the last good one from then on."""
    problem: ExtauthzError | None = None
    for choice in await keeper.choices():
        try:
            ready = await preparation.ready(choice.policy, proof=Proof(choice.cases, settings.canary_timeout))
        except ExtauthzError as error:
            keeper.failed(choice, error)
            problem = error
        else:
            await keeper.accept(choice)
            return ready
    raise problem or ConfigError((ConfigProblem(keeper.source.name, 0, "", "has no policy bundle", "build one"),))


async def _opened(
    ready: ReadyPolicy, keeper: BundleKeeper | None, settings: PolicySettings, entrypoint: str, clock: Clock
) -> OpenedPolicy:
    try:
        _require_defined(ready, entrypoint)
        engine: Engine
        if ready.opa is None:
            loaded = await asyncio.to_thread(LoadedPolicy, find_library(), ready.policy)
            engine = EmbeddedEngine(loaded, settings=settings.embedded, clock=clock)
        else:
            revision = ready.policy.revision
            engine = SidecarEngine(ready.address, settings=settings.sidecar, clock=clock, revision=revision)
        return OpenedPolicy(engine, ready, keeper)
    except BaseException:
        if ready.opa is not None:
            await ready.opa.stop()
        raise


def _require_defined(ready: ReadyPolicy, entrypoint: str) -> None:
    """Raises ConfigError: an entrypoint that is not there would refuse every question."""
    if ready.report.analyses[entrypoint].defined:
        return
    known = ", ".join(ready.report.declared) or "none is declared as an entrypoint"
    message = f"the policy has no rule at {entrypoint}"
    raise ConfigError((ConfigProblem(str(ready.policy.root), 0, "", message, f"use one of: {known}"),))
