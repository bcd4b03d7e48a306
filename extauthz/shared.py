"""What all workers of one server share, owned by their parent: the active generation and the OPA that we supervise.

A reload is atomic: `prepare` reads, checks and starts everything new beside the old; the parent then tells its workers
to activate it, and says `commit` or `abandon`. A broken file changes nothing and says where it is broken.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz import strict_yaml
from extauthz.config import Config, load_text
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.generation import Candidate, Generation
from extauthz.policy import loader
from extauthz.policy.ready import ReadyPolicy, make_ready

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.clock import Clock
    from extauthz.policy import projection
    from extauthz.policy.opa_process import OpaProcess


_NOTHING: Final = Generation(0, "", "", None, None)


@dataclass(frozen=True, slots=True)
class _Shared:
    config: Config
    generation: Generation
    live: ReadyPolicy | None
    candidate: ReadyPolicy | None

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
    def opa_pid(self) -> int | None:
        """The OPA that we supervise, while it runs."""
        live = self._active.live if self._active else None
        return live.opa.pid if live and live.opa else None

    async def start(self) -> Config:
        """Raises ConfigError, EngineFault or MissingPart; nothing is left running then."""
        self._active = await self._make()
        await asyncio.to_thread(self._active.generation.write, self._run_dir)
        return self._active.config

    async def prepare(self) -> Config:
        """Reads everything again. Raises as `start` does; the active generation stays what it is."""
        self._prepared = await self._make()
        await asyncio.to_thread(self._prepared.generation.write, self._run_dir)
        return self._prepared.config

    async def commit(self) -> None:
        """Every worker has activated what `prepare` made."""
        old, self._active, self._prepared = self._active, self._prepared, None
        await self._retire(old)

    async def abandon(self) -> None:
        """A worker could not activate what `prepare` made: workers that read again find the old generation."""
        refused, self._prepared = self._prepared, None
        if self._active is not None:
            await asyncio.to_thread(self._active.generation.write, self._run_dir)
        await self._retire(refused)

    async def stop(self) -> None:
        for shared in (self._prepared, self._active):
            for opa in shared.processes if shared is not None else ():
                await opa.stop()
        self._prepared = self._active = None

    async def _retire(self, old: _Shared | None) -> None:
        still = self._active.processes if self._active else ()
        for opa in old.processes if old is not None else ():
            if opa not in still:
                await opa.stop()

    async def _make(self) -> _Shared:
        text = await asyncio.to_thread(_read, self._config_file)
        config = load_text(text, str(self._config_file))
        settings = config.policy
        live = candidate = None
        if settings.path is not None and (settings.engine == "embedded" or settings.sidecar.supervise):
            active = self._active
            live = await self._ready(settings.path, config, active.live if active else None)
            try:
                _require_defined(live.report, config, str(self._config_file))
                if settings.candidate is not None:
                    running = active.candidate if active else None
                    candidate = await self._ready(settings.candidate.path, config, running)
                    _require_defined(candidate.report, config, str(settings.candidate.path))
            except BaseException:
                await self._retire(_Shared(config, _NOTHING, live, candidate))
                raise
        self._number += 1
        generation = Generation(
            self._number,
            str(self._config_file),
            text,
            live.policy if live else None,
            live.report if live else None,
            live.address if live else "",
            Candidate(candidate.policy, candidate.report, candidate.address) if candidate else None,
        )
        return _Shared(config, generation, live, candidate)

    async def _ready(self, path: Path, config: Config, running: ReadyPolicy | None) -> ReadyPolicy:
        settings = config.policy
        policy = await asyncio.to_thread(loader.load, path, max_bytes=settings.max_bytes, max_files=settings.max_files)
        return await make_ready(
            policy,
            set(config.entrypoints),
            sidecar=settings.engine == "sidecar",
            run_dir=self._run_dir,
            clock=self._clock,
            running=running,
        )


def _read(file: Path) -> str:
    try:
        return strict_yaml.read(file).decode()
    except UnicodeDecodeError:
        raise ConfigError((ConfigProblem(str(file), 0, "", "is not UTF-8", "save it as UTF-8"),)) from None


def _require_defined(report: projection.Report, config: Config, file: str) -> None:
    """An entrypoint that the policy does not have would fail every request: said at start, not then."""
    problems = tuple(
        ConfigProblem(
            file,
            0,
            ".".join(place),
            f"the policy has no rule at {entrypoint}",
            f"use one of: {', '.join(report.declared) or 'none is declared as an entrypoint'}",
        )
        for entrypoint, place in config.entrypoints.items()
        if not report.analyses[entrypoint].defined
    )
    if problems:
        raise ConfigError(problems)
