"""How fast a policy answers: each entrypoint, on each engine, asked the inputs of its decision cases.

Inputs are projected as a server does it; nothing is cached. Some askers ask at the same time, each waiting for its
answer, so that the rate is one that a server could have and the times are what a Check would wait.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.errors import EngineFault, MissingPart
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.engine import Query
from extauthz.policy.native import find_library
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.projection import analyse, projector
from extauthz.policy.settings import EmbeddedSettings, SidecarSettings
from extauthz.policy.sidecar import SidecarEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from extauthz.clock import Clock
    from extauthz.policy.cases import Case
    from extauthz.policy.engine import Engine
    from extauthz.policy.loader import PolicyFiles

ENGINES: Final = ("embedded", "sidecar")
WARM: Final = 50
MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """`p50` and `p99` in microseconds. `faults` counts questions that got no decision."""

    engine: str
    entrypoint: str
    decisions: int
    per_second: float
    p50: float
    p99: float
    faults: int


async def bench(
    tool: Path,
    policy: PolicyFiles,
    cases: Sequence[Case],
    *,
    clock: Clock,
    seconds: float,
    askers: int,
    engines: Sequence[str] = ENGINES,
) -> AsyncIterator[Measured]:
    """One row for each engine and entrypoint that has cases, as soon as it is measured.

    Raises MissingPart only where none of the engines is there.
    """
    asked = sorted({case.entrypoint for case in cases})
    analyses = (await asyncio.to_thread(analyse, tool, policy, asked)).analyses
    missing: MissingPart | None = None
    measured = 0
    for name in engines:
        async with AsyncExitStack() as stack:
            try:
                engine = await _open(name, tool, policy, clock, askers, stack)
            except MissingPart as error:
                missing = error
                continue
            for entrypoint in asked:
                project = projector(analyses[entrypoint])
                inputs = [project(case.input) for case in cases if case.entrypoint == entrypoint and not case.data]
                if inputs:
                    measured += 1
                    yield await _measure(name, engine, entrypoint, inputs, clock, seconds, askers)
    if missing is not None and not measured:
        raise missing


async def _open(name: str, tool: Path, policy: PolicyFiles, clock: Clock, askers: int, stack: AsyncExitStack) -> Engine:
    if name == "embedded":
        loaded = await asyncio.to_thread(LoadedPolicy, find_library(), policy)
        embedded = EmbeddedEngine(loaded, settings=EmbeddedSettings(threads=min(askers, 64)), clock=clock)
        stack.push_async_callback(embedded.close)
        return embedded
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="opa-"))
    opa = OpaProcess(tool, policy.bundle(), Path(directory), clock=clock)
    await opa.start()
    stack.push_async_callback(opa.stop)
    settings = SidecarSettings(supervise=False, address=opa.address, pool=askers)
    sidecar = SidecarEngine(opa.address, settings=settings, clock=clock, revision=policy.revision)
    stack.push_async_callback(sidecar.close)
    return sidecar


async def _measure(
    name: str, engine: Engine, entrypoint: str, inputs: Sequence[bytes], clock: Clock, seconds: float, askers: int
) -> Measured:
    for _, document in zip(range(WARM), cycle(inputs), strict=False):
        with suppress(EngineFault):
            await engine.evaluate(Query(entrypoint, document, 0.0, math.inf))
    started = clock.monotonic()
    took: list[float] = []
    faults = 0

    async def ask(first: int) -> None:
        nonlocal faults
        for turn in count(first, askers):
            began = clock.monotonic()
            if began - started >= seconds:
                return
            try:
                await engine.evaluate(Query(entrypoint, inputs[turn % len(inputs)], 0.0, math.inf))
            except EngineFault:
                faults += 1
            took.append(clock.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for first in range(askers):
            group.create_task(ask(first))
    lasted = clock.monotonic() - started
    took.sort()
    return Measured(
        name,
        entrypoint,
        len(took),
        len(took) / lasted if lasted else 0.0,
        _quantile(took, 0.5) * MICROSECONDS,
        _quantile(took, 0.99) * MICROSECONDS,
        faults,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
