"""How long one decision takes, by engine: every fixture of the shipped policies at its entrypoint, one at a time.

    python native/measure.py [rounds]

Prints microseconds for each engine, at p50 and p99: the whole way from the policy input to the decision (projection,
engine, reading the result), and a hit of the decision cache for comparison.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import uvloop
import yaml

from extauthz.clock import SystemClock
from extauthz.policy.activate import ActivePolicy, activate
from extauthz.policy.engine import Query
from extauthz.policy.settings import PolicySettings

POLICIES = Path(__file__).resolve().parent.parent / "policies"
ROUNDS = 50
WARM_UP = 3


def questions() -> list[tuple[str, dict[str, object]]]:
    expected = yaml.safe_load((POLICIES / "fixtures" / "expected.yaml").read_text())
    return [
        (expected[file.stem]["entrypoint"], json.loads(file.read_text()))
        for file in sorted((POLICIES / "fixtures").glob("*.json"))
    ]


async def measure(policy: ActivePolicy, ttl: float, rounds: int) -> list[float]:
    clock = SystemClock()
    asked = questions()
    taken = []
    for turn in range(WARM_UP + rounds):
        for entrypoint, document in asked:
            started = time.perf_counter()
            projected = policy.project(entrypoint, document)
            await policy.engine.evaluate(Query(entrypoint, projected, ttl, clock.monotonic() + 5))
            if turn >= WARM_UP:
                taken.append((time.perf_counter() - started) * 1e6)
    return sorted(taken)


async def main(rounds: int) -> None:
    print(f"{'engine':<24}{'p50 µs':>10}{'p99 µs':>10}")
    for engine in ("sidecar", "embedded"):
        settings = PolicySettings.model_validate({"engine": engine, "path": POLICIES, "cache": {"deny_ttl": "30s"}})
        entrypoints = {entrypoint for entrypoint, _ in questions()}
        policy = await activate(settings, entrypoints, clock=SystemClock(), epoch=lambda: 0)
        try:
            for name, ttl in ((engine, 0.0), (f"{engine}, cached", 3600.0)):
                taken = await measure(policy, ttl, rounds)
                print(f"{name:<24}{taken[len(taken) // 2]:>10.0f}{taken[len(taken) * 99 // 100]:>10.0f}", flush=True)
        finally:
            await policy.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
