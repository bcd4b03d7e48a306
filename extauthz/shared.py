"""What all workers of one server share, owned by their parent: the active generation and the OPA that we supervise.

A reload is atomic: `prepare` reads, checks and starts everything new beside the old; the parent then tells its workers
to activate it, and says `commit` or `abandon`. A broken file changes nothing and says where it is broken.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz import strict_yaml
from extauthz.config import Config, load_text
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.generation import Generation
from extauthz.policy import loader, projection
from extauthz.policy.native import find_tool
from extauthz.policy.opa_process import OpaProcess

if TYPE_CHECKING:
    from extauthz.clock import Clock


@dataclass(frozen=True, slots=True)
class _Shared:
    config: Config
    generation: Generation
    opa: OpaProcess | None


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
        return self._active.opa.pid if self._active and self._active.opa else None

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
            if shared is not None and shared.opa is not None:
                await shared.opa.stop()
        self._prepared = self._active = None

    async def _retire(self, old: _Shared | None) -> None:
        still = self._active.opa if self._active else None
        if old is not None and old.opa is not None and old.opa is not still:
            await old.opa.stop()

    async def _make(self) -> _Shared:
        text = await asyncio.to_thread(_read, self._config_file)
        config = load_text(text, str(self._config_file))
        settings = config.policy
        policy = report = opa = None
        if settings.path is not None and (settings.engine == "embedded" or settings.sidecar.supervise):
            tool = await asyncio.to_thread(find_tool)
            policy = await asyncio.to_thread(
                loader.load, settings.path, max_bytes=settings.max_bytes, max_files=settings.max_files
            )
            entrypoints = sorted({route.policy for route in config.routes})
            report = await asyncio.to_thread(projection.analyse, tool, policy, entrypoints)
            _require_defined(report, config, str(self._config_file))
            if settings.engine == "sidecar":
                opa = await self._opa(tool, policy)
        self._number += 1
        address = opa.address if opa else ""
        generation = Generation(self._number, str(self._config_file), text, policy, report, address)
        return _Shared(config, generation, opa)

    async def _opa(self, tool: Path, policy: loader.PolicyFiles) -> OpaProcess:
        """The running one when it has this very policy already, else a new one beside it."""
        running = self._active
        if running is not None and running.opa is not None and running.generation.revision == policy.revision:
            return running.opa
        directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="opa-", dir=self._run_dir)
        opa = OpaProcess(tool, policy.bundle(), Path(directory), clock=self._clock)
        await opa.start()
        return opa


def _read(file: Path) -> str:
    try:
        return strict_yaml.read(file).decode()
    except UnicodeDecodeError:
        raise ConfigError((ConfigProblem(str(file), 0, "", "is not UTF-8", "save it as UTF-8"),)) from None


def _require_defined(report: projection.Report, config: Config, file: str) -> None:
    """An entrypoint that the policy does not have would deny every request of its route: said at start, not then."""
    problems = tuple(
        ConfigProblem(
            file,
            0,
            f"routes.{route.name}.policy",
            f"the policy has no rule at {route.policy}",
            f"use one of: {', '.join(report.declared) or 'none is declared as an entrypoint'}",
        )
        for route in config.routes
        if not report.analyses[route.policy].defined
    )
    if problems:
        raise ConfigError(problems)
