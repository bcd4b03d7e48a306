"""A policy made ready to decide: compiled, analysed, proven by its own decision cases, and served by an OPA if need be.

A hostile policy is met by processes that may die of it: the `opa` tool analyses it, and an OPA server of its own
answers its decision cases, also when it will be embedded (both are built from the same OPA).
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extauthz.policy import canary, projection
from extauthz.policy.native import find_tool
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.result import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.clock import Clock
    from extauthz.model import Decision
    from extauthz.policy.cases import Case
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Report


@dataclass(frozen=True, slots=True)
class Proof:
    """The decision cases that a policy must answer first, each within `seconds`; `read` makes decisions of results."""

    cases: tuple[Case, ...]
    seconds: float
    read: Callable[[Any], Decision] = parse


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
        mine = self.policy
        return (mine.revision, mine.roots, mine.digest) == (policy.revision, policy.roots, policy.digest)


class Preparation:
    """Makes policies ready for one server. `run_dir` is private."""

    def __init__(self, run_dir: Path, clock: Clock, *, sidecar: bool, entrypoints: Iterable[str]) -> None:
        self._run_dir = run_dir
        self._clock = clock
        self._sidecar = sidecar
        self._entrypoints = sorted(entrypoints)

    async def ready(
        self, policy: PolicyFiles, *, running: ReadyPolicy | None = None, proof: Proof | None = None
    ) -> ReadyPolicy:
        """`running` lends its OPA when it serves this very policy, which is proven then.

        Raises ConfigError, EngineFault or MissingPart; nothing is left running then.
        """
        tool = await asyncio.to_thread(find_tool)
        report = await asyncio.to_thread(projection.analyse, tool, policy, self._entrypoints)
        if running is not None and running.same(policy) and (running.opa is not None or not self._sidecar):
            return ReadyPolicy(policy, report, running.opa if self._sidecar else None)
        if not self._sidecar and proof is None:
            return ReadyPolicy(policy, report)
        directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="opa-", dir=self._run_dir)
        opa = OpaProcess(tool, policy.bundle(), Path(directory), clock=self._clock)
        await opa.start()
        kept = False
        try:
            if proof is not None:
                defined = [name for name in self._entrypoints if report.analyses[name].defined]
                await canary.prove(
                    opa.address,
                    policy,
                    entrypoints=defined,
                    cases=proof.cases,
                    seconds=proof.seconds,
                    read=proof.read,
                    clock=self._clock,
                )
            kept = self._sidecar
        finally:
            if not kept:
                await opa.stop()
        return ReadyPolicy(policy, report, opa if kept else None)
