"""How long one decision takes, by engine: every fixture of the shipped policies at its entrypoint, one at a time.

    python native/measure.py [rounds]

Prints microseconds for each engine, at p50 and p99: the whole way from the policy input to the decision (projection,
engine, reading the result), and a hit of the decision cache for comparison.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
import yaml

from extauthz.clock import SystemClock
from extauthz.policy.cached import CachedEngine
from extauthz.policy.embedded import EmbeddedEngine, LoadedPolicy
from extauthz.policy.engine import Query
from extauthz.policy.loader import load
from extauthz.policy.native import find_library, find_tool
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.projection import analyse, projector
from extauthz.policy.settings import CacheSettings, EmbeddedSettings, SidecarSettings
from extauthz.policy.sidecar import SidecarEngine

if TYPE_CHECKING:
    from extauthz.policy.engine import Engine
    from extauthz.policy.projection import Projector

POLICIES = Path(__file__).resolve().parent.parent / "policies"
ROUNDS = 50
WARM_UP = 3
CLOCK = SystemClock()


def questions() -> list[tuple[str, dict[str, object]]]:
    expected = yaml.safe_load((POLICIES / "fixtures" / "cases.yaml").read_text())["cases"]
    return [
        (expected[file.stem]["entrypoint"], json.loads(file.read_text()))
        for file in sorted((POLICIES / "fixtures").glob("*.json"))
    ]


async def measure(engine: Engine, project: dict[str, Projector], ttl: float, rounds: int) -> list[float]:
    asked = questions()
    taken = []
    for turn in range(WARM_UP + rounds):
        for entrypoint, document in asked:
            started = time.perf_counter()
            projected = project[entrypoint](document)
            await engine.evaluate(Query(entrypoint, projected, ttl, CLOCK.monotonic() + 5))
            if turn >= WARM_UP:
                taken.append((time.perf_counter() - started) * 1e6)
    return sorted(taken)


async def main(rounds: int) -> None:
    policy = load(POLICIES)
    report = analyse(find_tool(), policy)
    project = {name: projector(analysis) for name, analysis in report.analyses.items()}
    with tempfile.TemporaryDirectory(prefix="opa-") as directory:
        opa = OpaProcess(find_tool(), policy.bundle(), Path(directory), clock=CLOCK)
        await opa.start()
        beside = SidecarEngine(opa.address, settings=SidecarSettings(), clock=CLOCK, revision=policy.revision)
        inside = EmbeddedEngine(LoadedPolicy(find_library(), policy), settings=EmbeddedSettings(), clock=CLOCK)
        settings = CacheSettings(deny_ttl="30s")
        cached = CachedEngine(inside, settings=settings, clock=CLOCK, epoch=lambda: 0, cap=lambda _: math.inf)
        try:
            print(f"{'engine':<24}{'p50 µs':>10}{'p99 µs':>10}")
            for name, engine, ttl in (("sidecar", beside, 0.0), ("embedded", inside, 0.0), ("cached", cached, 3600.0)):
                taken = await measure(engine, project, ttl, rounds)
                print(f"{name:<24}{taken[len(taken) // 2]:>10.0f}{taken[len(taken) * 99 // 100]:>10.0f}", flush=True)
        finally:
            await beside.close()
            await cached.close()
            await opa.stop()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
