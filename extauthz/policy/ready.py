"""A policy made ready to decide: compiled, analysed, and, for a sidecar, served by an OPA of its own."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.policy import projection
from extauthz.policy.native import find_tool
from extauthz.policy.opa_process import OpaProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.clock import Clock
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Report


@dataclass(frozen=True, slots=True)
class ReadyPolicy:
    """`opa` is the process that serves it, None for the embedded engine."""

    policy: PolicyFiles
    report: Report
    opa: OpaProcess | None = None

    @property
    def address(self) -> str:
        return self.opa.address if self.opa else ""

    def same(self, policy: PolicyFiles) -> bool:
        return self.policy.revision == policy.revision and self.policy.digest == policy.digest


async def make_ready(
    policy: PolicyFiles,
    entrypoints: Iterable[str],
    *,
    sidecar: bool,
    run_dir: Path,
    clock: Clock,
    running: ReadyPolicy | None = None,
) -> ReadyPolicy:
    """`running` lends its OPA when it serves this very policy. Raises ConfigError, EngineFault or MissingPart."""
    tool = await asyncio.to_thread(find_tool)
    report = await asyncio.to_thread(projection.analyse, tool, policy, sorted(entrypoints))
    opa = None
    if sidecar and running is not None and running.opa is not None and running.same(policy):
        opa = running.opa
    elif sidecar:
        directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="opa-", dir=run_dir)
        opa = OpaProcess(tool, policy.bundle(), Path(directory), clock=clock)
        await opa.start()
    return ReadyPolicy(policy, report, opa)
