"""What all workers of one server share, owned by their parent: the active generation and the OPA that we supervise.

A reload is atomic: `prepare` reads, checks and starts everything new beside the old; the parent then tells its workers
to activate it, and says `commit` or `abandon`. A broken file changes nothing and says where it is broken.

With a policy bundle there are up to two policies to begin with: the one that the source offers and the last good one.
A start takes the first that can be made ready; a reload takes the offered one or is refused.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from extauthz import strict_yaml
from extauthz.check.compat import result as plugin_result
from extauthz.config import Config, load_text
from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError
from extauthz.generation import Candidate, Generation
from extauthz.policy import bundle, result
from extauthz.policy.opening import keeper_of, limits_of, read_files
from extauthz.policy.ready import Preparation, Proof, ReadyPolicy
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from extauthz.clock import Clock
    from extauthz.policy.archive import Limits
    from extauthz.policy.bundle import PolicyBundle
    from extauthz.policy.bundle_keeper import BundleKeeper
    from extauthz.policy.bundle_settings import BundleSettings
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.opa_process import OpaProcess

log = logging.getLogger(__name__)

_AGAIN: Final = 30.0
"""Seconds until a bundle is tried again that could not be activated for another reason than its own."""
_NOTHING: Final = Generation(0, "", "", None, None)


@dataclass(frozen=True, slots=True)
class _Shared:
    config: Config
    generation: Generation
    live: ReadyPolicy | None
    candidate: ReadyPolicy | None
    keeper: BundleKeeper | None
    bundle: PolicyBundle | None

    @property
    def processes(self) -> tuple[OpaProcess, ...]:
        return tuple(ready.opa for ready in (self.live, self.candidate) if ready is not None and ready.opa is not None)


class SharedParts:
    """`run_dir` is private (0700) and belongs to this server."""

    def __init__(self, config_file: Path, run_dir: Path, clock: Clock) -> None:
        self._config_file = config_file
        self._run_dir = run_dir
        self._clock = clock
        self._active: _Shared | None = None
        self._prepared: _Shared | None = None
        self._number = 0
        self._changes = asyncio.Event()

    @property
    def config(self) -> Config:
        """The active configuration; after `start` only."""
        if self._active is None:
            raise RuntimeError("not started")
        return self._active.config

    @property
    def revision(self) -> str:
        return self._active.generation.revision if self._active else ""

    @property
    def policy_bundle(self) -> dict[str, Any] | None:
        """What operators are told of the policy bundle; None without one."""
        keeper = self._active.keeper if self._active else None
        return None if keeper is None else {**keeper.status(), "refusals": keeper.refusals}

    @property
    def opa_pid(self) -> int | None:
        """The OPA that we supervise, while it runs."""
        live = self._active.live if self._active else None
        return live.opa.pid if live and live.opa else None

    async def start(self) -> Config:
        """Raises ConfigError, EngineFault or MissingPart; nothing is left running then."""
        self._active = await self._make()
        await asyncio.to_thread(self._active.generation.write, self._run_dir)
        await self._accept(self._active)
        return self._active.config

    async def prepare(self) -> Config:
        """Reads everything again. Raises as `start` does; the active generation stays what it is."""
        self._prepared = await self._make()
        await asyncio.to_thread(self._prepared.generation.write, self._run_dir)
        return self._prepared.config

    async def commit(self) -> None:
        """Every worker has activated what `prepare` made."""
        old, self._active, self._prepared = self._active, self._prepared, None
        await self._accept(self._active)
        await self._retire(old)

    async def abandon(self) -> None:
        """A worker could not activate what `prepare` made: workers that read again find the old generation."""
        refused, self._prepared = self._prepared, None
        if self._active is not None:
            await asyncio.to_thread(self._active.generation.write, self._run_dir)
        if refused is not None and refused.keeper is not None and refused.bundle is not None:
            refused.keeper.failed(refused.bundle, ExtauthzError("the server could not activate the policy bundle"))
        await self._retire(refused)

    async def follow(self, reload: Callable[[], Awaitable[object]]) -> None:
        """Calls `reload` when the bundle server has another bundle, until it is cancelled."""
        while True:
            self._changes.clear()
            keeper = self._active.keeper if self._active else None
            tasks = Tasks()
            news = asyncio.Event()
            if keeper is not None:
                tasks.start(keeper.source.follow(_setting(news, self._changes)), "policy bundle")
            try:
                while keeper is (self._active.keeper if self._active else None):
                    await self._changes.wait()
                    self._changes.clear()
                    if news.is_set():
                        news.clear()
                        await reload()
                        if keeper is not None and keeper.unsettled:
                            tasks.start(_later(_setting(news, self._changes)), "policy bundle, again")
            finally:
                await tasks.close()

    async def stop(self) -> None:
        for shared in (self._prepared, self._active):
            if shared is not None:
                await _close(shared, None)
        self._prepared = self._active = None

    async def _accept(self, shared: _Shared | None) -> None:
        if shared is not None and shared.keeper is not None and shared.bundle is not None:
            await shared.keeper.accept(shared.bundle)
        self._changes.set()

    async def _retire(self, old: _Shared | None) -> None:
        if old is not None:
            await _close(old, self._active)

    async def _make(self) -> _Shared:
        text = await asyncio.to_thread(_read, self._config_file)
        config = load_text(text, str(self._config_file))
        settings, active = config.policy, self._active
        supervised = settings.engine == "embedded" or settings.sidecar.supervise
        keeper = await self._keeper(config)
        made = _Shared(config, _NOTHING, None, None, keeper, None)
        try:
            if keeper is not None or (settings.path is not None and supervised):
                made = await self._live(made, text, supervised=supervised)
            if made.live is not None and supervised and settings.candidate is not None:
                running = active.candidate if active else None
                policy = await asyncio.to_thread(read_files, settings.candidate.path, settings)
                made = replace(made, candidate=await self._preparation(config).ready(policy, running=running))
                _require_defined(made.candidate, config, str(settings.candidate.path), "")
            fallback = await self._fallback(made, text)
        except BaseException:
            with suppress(ExtauthzError):
                await self._retire(made)
            raise
        self._number += 1
        live, candidate = made.live, made.candidate
        generation = Generation(
            self._number,
            str(self._config_file),
            text,
            live.policy if live else None,
            live.report if live and supervised else None,
            live.address if live else "",
            Candidate(candidate.policy, candidate.report, candidate.address) if candidate else None,
            fallback,
        )
        return replace(made, generation=generation)

    async def _fallback(self, made: _Shared, text: str) -> PolicyFiles | None:
        """The policy that decides while the engine is away, where a route degrades: the one in force; for an OPA of
        the operator's own that has no policy bundle of ours, the directory's."""
        config, settings = made.config, made.config.policy
        if not any(route.failure_plan.engine == "degrade" for route in config.routes):
            return None
        if made.live is not None:
            return made.live.policy
        policy = await asyncio.to_thread(read_files, settings.path, settings)
        ready = await self._preparation(config, sidecar=False).ready(policy)
        _require_defined(ready, config, str(self._config_file), text)
        return ready.policy

    async def _live(self, made: _Shared, text: str, *, supervised: bool) -> _Shared:
        """`made`, of the configuration `text`, with the first policy that can be made ready. With an OPA of the
        operator's own (not `supervised`) the bundle only tells the revision that OPA must have."""
        config, keeper = made.config, made.keeper
        settings, running = config.policy, self._active.live if self._active else None
        preparation = self._preparation(config, sidecar=settings.engine == "sidecar" and supervised)
        if keeper is None or settings.bundle is None:
            policy = await asyncio.to_thread(read_files, settings.path, settings)
            made = replace(made, live=await preparation.ready(policy, running=running))
            _require_defined(made.live, config, str(self._config_file), text)
            return made
        choices = await keeper.choices()
        for last, choice in ((choice is choices[-1], choice) for choice in choices):
            try:
                read = plugin_result.read if settings.compat else result.parse
                proof = Proof(choice.cases, settings.bundle.canary_timeout, read)
                ready = await preparation.ready(choice.policy, running=running, proof=proof)
                made = replace(made, live=ready, bundle=choice)
                _require_defined(ready, config, str(self._config_file), text)
            except ExtauthzError as error:
                keeper.failed(choice, error)
                await _close(replace(made, keeper=None), self._active)
                if last:
                    raise
                log.error("%s; the last good policy bundle is tried", error)  # noqa: TRY400 - expected
            else:
                return made
        raise ConfigError((ConfigProblem(keeper.source.name, 0, "", "has no policy bundle", "build one"),))

    async def _keeper(self, config: Config) -> BundleKeeper | None:
        """The active one when nothing about the bundle has changed."""
        settings, active = config.policy, self._active
        if settings.bundle is None:
            return None
        if active is not None and active.keeper is not None and _told(active.config) == _told(config):
            active.keeper.trust(await asyncio.to_thread(bundle.trust_of, settings.bundle))
            return active.keeper
        trust = await asyncio.to_thread(bundle.trust_of, settings.bundle)
        verify = await asyncio.to_thread(config.outbound.verify)
        return keeper_of(settings.bundle, limits_of(settings), trust, verify)

    def _preparation(self, config: Config, *, sidecar: bool | None = None) -> Preparation:
        wanted = config.policy.engine == "sidecar" if sidecar is None else sidecar
        entrypoints = set(config.entrypoints)
        return Preparation(self._run_dir, self._clock, sidecar=wanted, entrypoints=entrypoints)


async def _close(shared: _Shared, still: _Shared | None) -> None:
    """Ends what `shared` started and `still` does not use."""
    used = still.processes if still else ()
    for opa in shared.processes:
        if opa not in used:
            await opa.stop()
    if shared.keeper is not None and (still is None or shared.keeper is not still.keeper):
        await shared.keeper.close()


async def _later(call: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(_AGAIN)
    await call()


def _setting(*events: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def set_them() -> None:
        for event in events:
            event.set()

    return set_them


def _told(config: Config) -> tuple[BundleSettings | None, Limits, object]:
    """Everything that a keeper is made of."""
    return config.policy.bundle, limits_of(config.policy), config.outbound


def _read(file: Path) -> str:
    try:
        return strict_yaml.read(file).decode()
    except UnicodeDecodeError:
        raise ConfigError((ConfigProblem(str(file), 0, "", "is not UTF-8", "save it as UTF-8"),)) from None


def _require_defined(ready: ReadyPolicy | None, config: Config, file: str, text: str) -> None:
    """An entrypoint that the policy does not have would deny every request of its route: said at start, not then.

    `text`: the configuration, when `file` is its file.
    """
    if ready is None:
        return
    report = ready.report
    problems = tuple(
        ConfigProblem(
            file,
            _line(text, config, place),
            ".".join(place),
            f"the policy has no rule at {entrypoint}",
            f"use one of: {', '.join(report.declared) or 'none is declared as an entrypoint'}",
        )
        for entrypoint, place in config.entrypoints.items()
        if not report.analyses[entrypoint].defined
    )
    if problems:
        raise ConfigError(problems)


def _line(text: str, config: Config, place: tuple[str, ...]) -> int:
    """The line of a `Config.entrypoints` place; routes stand in the file by number. 0 without a text."""
    if not text:
        return 0
    numbers = {route.name: number for number, route in enumerate(config.routes)}
    located = tuple(numbers.get(part, part) if place[0] == "routes" else part for part in place)
    return strict_yaml.parse(text.encode(), "").line(located)
