"""One run: prove that authorization is on, measure in interleaved rounds, prove it again, sum up."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.generator import Sample
    from bench.lab import Lab
    from bench.variants import Variant


@dataclass(frozen=True, slots=True)
class Plan:
    """Times in seconds. `rate`: requests a second of the open-loop round, the same for every variant."""

    repeats: int = 5
    seconds: float = 8.0
    warmup: float = 2.0
    conns: int = 16
    rate: float = 250.0
    threads: int = 2
    load_before: float = 0.0
    """The machine's load average when the run began: what others were doing."""


@dataclass(slots=True)
class Result:
    """All of one variant. `problems`: why its figures must not be believed; none when they may."""

    variant: Variant
    limit: list[Sample] = field(default_factory=list)
    """Closed loop: as fast as it goes."""
    steady: list[Sample] = field(default_factory=list)
    """Open loop, at the plan's rate."""
    problems: list[str] = field(default_factory=list)

    @property
    def rps(self) -> float:
        return median(sample.rps for sample in self.limit)

    @property
    def spread(self) -> float:
        """Half the distance between the slowest and the fastest round, as a share of the median."""
        figures = [sample.rps for sample in self.limit]
        return (max(figures) - min(figures)) / 2 / self.rps if self.rps else 0.0

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in (*self.limit, *self.steady))

    def row(self) -> dict[str, Any]:
        """One entry of latest.json."""
        names = sorted({name for sample in self.limit for name in sample.cores})
        return {
            "name": self.variant.name,
            "what": self.variant.what,
            "rps": round(self.rps, 1),
            "p50_us": round(median(sample.p50_us for sample in self.limit), 1),
            "p99_us": round(median(sample.p99_us for sample in self.limit), 1),
            "errors": self.errors,
            "spread": round(self.spread, 3),
            "repeats": [round(sample.rps, 1) for sample in self.limit],
            "requests": sum(sample.requests for sample in (*self.limit, *self.steady)),
            "steady_p50_us": round(median(sample.p50_us for sample in self.steady), 1),
            "steady_p99_us": round(median(sample.p99_us for sample in self.steady), 1),
            "cores": {name: round(median(s.cores[name] for s in self.limit), 2) for name in names},
            "cpu_us": {
                name: round(median(1e6 * s.cores[name] / s.rps for s in self.limit if s.rps), 1) for name in names
            },
            "problems": self.problems,
        }


def measure(lab: Lab, variants: Sequence[Variant], plan: Plan, say: Callable[[str], None]) -> list[Result]:
    """1. probe  2. rounds at the limit, each in another order  3. rounds at a fixed rate  4. probe again, and count"""
    results = [Result(variant) for variant in variants]
    for result in results:  # 1
        result.problems += probe(lab, result.variant)
    total = plan.repeats + steady_rounds(plan)
    for number in range(total):
        rate = 0.0 if number < plan.repeats else plan.rate
        lab.fresh_tokens(plan.warmup + plan.seconds)
        for result in ordered(results, number):
            variant = result.variant
            say(f"round {number + 1} of {total}: {variant.name}" + (f" at {rate:.0f}/s" if rate else ""))
            sample = lab.measure(variant, conns=plan.conns, rate=rate, warmup=plan.warmup, seconds=plan.seconds)
            (result.steady if rate else result.limit).append(sample)
    for result in results:  # 4
        result.problems += probe(lab, result.variant) + verdict(lab, result)
    return results


def steady_rounds(plan: Plan) -> int:
    return max(plan.repeats // 2, 1)


def ordered(results: list[Result], number: int) -> list[Result]:
    """Every round starts elsewhere, every other one runs backwards: no variant always follows the same one."""
    shift = number * 3 % len(results)
    turned = results[shift:] + results[:shift]
    return turned[::-1] if number % 2 else turned


def probe(lab: Lab, variant: Variant) -> list[str]:
    """A good token passes; a forged one, none, and one of a user without the role are refused, by a variant that
    authorizes. A limit lets all of them through."""
    tokens = lab.probes
    expected = {"good": (tokens.good, 200), "forged": (tokens.forged, 401), "no": ("", 401)}
    expected["unprivileged"] = (tokens.unprivileged, 403)
    found = []
    for name, (token, status) in expected.items():
        want = status if variant.authorizes else 200
        if (got := lab.ask(variant, token)) != want:
            found.append(f"{name} token: {got} in place of {want}")
    return found


def verdict(lab: Lab, result: Result) -> list[str]:
    """Wrong answers, and requests that never reached the server that should have judged them."""
    found = []
    faults = sorted({sample.fault for sample in (*result.limit, *result.steady) if sample.fault})
    if result.errors:
        found.append(f"{result.errors} wrong answers: {'; '.join(faults)}")
    server = result.variant.server
    served = sum(sample.requests for sample in (*result.limit, *result.steady))
    if server is not None and lab.allowed_by(server) < served - result.errors:
        found.append("Envoy let requests through that the server was not asked about")
    return found
