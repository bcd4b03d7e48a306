"""Every pattern of credential on the demonstration platform: what its Check costs, and which attacks it stops.

`python -m bench.patterns` starts the platform, measures each Check as Envoy itself measures it (`authz_us` of its
access log), tries every attack on every pattern, ends the authority for a while, and writes
bench/results/patterns.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bench import report, revocation_delay
from bench.credentials import PATTERNS
from bench.pattern import Pattern
from extauthz.demo.lab import Answer, Lab
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ROUNDS: Final = 3
_PATIENCE: Final = 15.0
"""Seconds that a revocation may take before it counts as one that never came."""
_LOOK: Final = 0.005
_FLUSHED: Final = 0.3
Tried = Pattern[Any]
ATTACKS: Final[dict[str, Callable[[Tried], Awaitable[Answer | str]]]] = {
    "copied, used by somebody else": lambda pattern: _on_good(pattern, pattern.copied),
    "copied with its private key": lambda pattern: _on_good(pattern, pattern.copied_with_key),
    "kept by a service that served it": lambda pattern: _on_good(pattern, pattern.kept_by_hop),
    "used at another route or zone": lambda pattern: _on_good(pattern, pattern.elsewhere),
    "expired": lambda pattern: pattern.expired(),
    "forged or guessed": lambda pattern: _on_good(pattern, pattern.forged),
    "another tenant's data": lambda pattern: _on_good(pattern, pattern.other_tenant),
    "for another purpose": lambda pattern: _on_good(pattern, pattern.other_purpose),
}
REVOKED: Final = "replayed after revocation"
OUTAGE: Final = ("issuer down: known", "issuer down: not seen before")
LASTING: Final = "issuer down for over a minute"
_SHORT: Final = 1.5
"""Seconds after which an issuer's answer is not believed any more (`introspection.cache_ttl` is 1s)."""
_LONG: Final = 65.0
"""Seconds after which it is not known any more what has been revoked (`revocation.max_age` is 60s)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. `stopped` None: there was nothing to try, and `code` says why."""

    stopped: bool | None
    status: int = 0
    code: str = ""
    seconds: float | None = None

    def cell(self) -> str:
        if self.stopped is None:
            return f"– ({self.code})"
        if not self.stopped:
            return "**not stopped**"
        took = f", {self.seconds * 1000:.0f} ms" if self.seconds is not None else ""
        return (f"{self.code}" if " " in self.code else f"`{self.code}`") + took

    def served(self) -> str:
        """The cell where an honest request was made."""
        return f"`{self.code}`" if self.stopped else "served"


@dataclass(slots=True)
class Row:
    """Of one pattern. Latencies are of the Check alone, in microseconds: (p50, p99)."""

    name: str
    zone: str
    route: str
    known: tuple[float, float] | None = None
    fresh: tuple[float, float] | None = None
    attacks: dict[str, Outcome] = field(default_factory=dict)


# ------------------------------------------------------------------ attacks


async def _on_good(pattern: Tried, attempt: Callable[[Any], Awaitable[Answer | str]]) -> Answer | str:
    return await attempt(await pattern.get())


def judge(answer: Answer | str) -> Outcome:
    """Raises ExtauthzError when the answer says neither yes nor no: then nothing was shown."""
    if isinstance(answer, str):
        return Outcome(None, code=answer)
    if 200 <= answer.status < 300:
        return Outcome(stopped=False, status=answer.status)
    if not answer.layer or not answer.code:
        raise ExtauthzError(f"the attempt came to nothing: {answer.status} {answer.code} {dict(answer.body)}")
    return Outcome(stopped=True, status=answer.status, code=answer.code)


async def try_attack(pattern: Tried, name: str) -> Outcome:
    outcome = judge(await ATTACKS[name](pattern))
    if outcome.stopped and outcome.code.startswith("engine."):
        raise ExtauthzError(f"{pattern.name}, {name}: {outcome.code} stops anybody")
    return outcome


async def revoked(pattern: Tried) -> Outcome:
    """A credential that works, revoked, and used again and again until it is refused."""
    held = await pattern.get()
    await honest(pattern, held)
    started = time.monotonic()
    await pattern.revoke(held)
    while True:
        asked = time.monotonic()
        outcome = judge(await pattern.use(held))
        if outcome.stopped or asked - started > _PATIENCE:
            return Outcome(outcome.stopped, outcome.status, outcome.code, time.monotonic() - started)
        await asyncio.sleep(_LOOK)


async def honest(pattern: Tried, held: Any) -> Answer:
    """Raises ExtauthzError when a good credential is refused."""
    answer = await pattern.use(held)
    if judge(answer).stopped:
        raise ExtauthzError(f"{pattern.name}: a good credential is refused with {answer.code}")
    return answer


async def outage(platform: Platform, patterns: Sequence[Tried], *, lasting: bool) -> list[dict[str, Outcome]]:
    """Without the authority: a credential that was used before, one that was not, and the first one a minute later."""
    known, fresh = [await pattern.get() for pattern in patterns], [await pattern.get() for pattern in patterns]
    for pattern, held in zip(patterns, known, strict=True):
        await honest(pattern, held)
    await platform.kill("authority")
    try:
        await asyncio.sleep(_SHORT)
        answered = {name: await _used(patterns, held) for name, held in zip(OUTAGE, (known, fresh), strict=True)}
        if lasting:
            await asyncio.sleep(_LONG)
            answered[LASTING] = await _used(patterns, known)
    finally:
        await platform.restart("authority")
    return [{name: outcomes[at] for name, outcomes in answered.items()} for at in range(len(patterns))]


async def _used(patterns: Sequence[Tried], held: Sequence[Any]) -> list[Outcome]:
    return [judge(await pattern.use(one)) for pattern, one in zip(patterns, held, strict=True)]


async def attack(platform: Platform, patterns: Sequence[Tried], *, lasting: bool) -> list[dict[str, Outcome]]:
    """Each attack on each pattern: name → what came of it, in the order of the patterns."""
    found = await asyncio.gather(*(_tried(pattern) for pattern in patterns))
    for pattern, outcomes in zip(patterns, found, strict=True):  # one after the other: this one is timed
        outcomes[REVOKED] = await revoked(pattern)
    for outcomes, without in zip(found, await outage(platform, patterns, lasting=lasting), strict=True):
        outcomes.update(without)
    return found


async def _tried(pattern: Tried) -> dict[str, Outcome]:
    await honest(pattern, await pattern.get())
    return {name: await try_attack(pattern, name) for name in ATTACKS}


# ------------------------------------------------------------------ latency


async def latencies(
    platform: Platform, patterns: Sequence[Tried], requests: int, say: Callable[[str], None]
) -> list[tuple[tuple[float, float], tuple[float, float] | None]]:
    """For each pattern (p50, p99) of a credential that was used a moment before, and of one that never was.

    The first request with a new credential, and at once the second; patterns take turns. Medians of the rounds.
    """
    lasting = [await pattern.get() for pattern in patterns]
    rounds: list[dict[tuple[int, bool], tuple[float, float]]] = []
    for number in range(ROUNDS):
        say(f"latency, round {number + 1} of {ROUNDS}")
        asked: dict[str, tuple[int, bool]] = {}
        for turn in range(requests):
            for step in range(len(patterns)):
                at = (step + turn) % len(patterns)
                pattern = patterns[at]
                held = await pattern.get() if pattern.renewable else lasting[at]
                first = await honest(pattern, held)
                if pattern.renewable:
                    asked[first.request_id] = (at, True)
                asked[(await honest(pattern, held)).request_id] = (at, False)
        rounds.append(await _measured(platform, patterns, asked))
    return [
        (_median(rounds, (at, False)), _median(rounds, (at, True)) if pattern.renewable else None)
        for at, pattern in enumerate(patterns)
    ]


async def _measured(
    platform: Platform, patterns: Sequence[Tried], asked: dict[str, tuple[int, bool]]
) -> dict[tuple[int, bool], tuple[float, float]]:
    """What the Envoys wrote of these requests. Raises ExtauthzError when some are missing."""
    await asyncio.sleep(_FLUSHED)
    spent: dict[tuple[int, bool], list[float]] = {}
    for zone in {pattern.zone for pattern in patterns}:
        for line in platform.layout.zone(zone).access_log.read_text().splitlines():
            entry = json.loads(line)
            kind = asked.get(entry.get("request_id", ""))
            # A transfer goes through this Envoy twice: in, and on to the next zone.
            if kind and entry["listener"] == "ingress" and patterns[kind[0]].zone == zone:
                spent.setdefault(kind, []).append(float(entry["authz_us"]))
    if sum(map(len, spent.values())) != len(asked):
        raise ExtauthzError(f"of {len(asked)} requests the access logs have {sum(map(len, spent.values()))}")
    return {kind: (statistics.median(taken), _p99(taken)) for kind, taken in spent.items()}


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def _median(
    rounds: Sequence[dict[tuple[int, bool], tuple[float, float]]], kind: tuple[int, bool]
) -> tuple[float, float]:
    halves, tails = zip(*(each[kind] for each in rounds), strict=True)
    return statistics.median(halves), statistics.median(tails)


# ------------------------------------------------------------------ what is shown


def markdown(rows: Sequence[Row]) -> str:
    """Two tables: latencies, and attacks."""
    lines = [
        "| pattern | zone | route | known p50 µs | known p99 µs | new p50 µs | new p99 µs |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figures = [f"{value:,.0f}" for pair in (row.known, row.fresh) for value in (pair or ())]
        lines.append(f"| {row.name} | {row.zone} | `{row.route}` | {' | '.join([*figures, *'––'][:4])} |")
    lines += ["", "| attack | " + " | ".join(row.name for row in rows) + " |", "| --- |" + " --- |" * len(rows)]
    lines += [f"| {name} | {' | '.join(cells(rows, name))} |" for name in rows[0].attacks]
    return "\n".join(lines) + "\n"


def cells(rows: Sequence[Row], attack: str) -> list[str]:
    served = attack in {*OUTAGE, LASTING}
    return [row.attacks[attack].served() if served else row.attacks[attack].cell() for row in rows]


def written(rows: Sequence[Row]) -> str:
    file = report.RESULTS / "patterns.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return str(file.relative_to(file.parents[2]))


# ------------------------------------------------------------------ the run


def made(lab: Lab, thief: Lab) -> list[Tried]:
    return [pattern(lab, thief) for pattern in PATTERNS]


async def run(requests: int) -> None:
    def say(text: str) -> None:
        print(f"patterns: {text}", file=sys.stderr, flush=True)

    load = os.getloadavg()[0]
    async with Platform(progress=say) as platform:
        lab, thief = Lab(platform), Lab(platform)
        try:
            await Runner(platform, lab).warm_up()
            patterns = made(lab, thief)
            for pattern in patterns:
                await pattern.prepare()
            figures = await latencies(platform, patterns, requests, say)
            say("attacks")
            attacks = await attack(platform, patterns, lasting=True)
        finally:
            await lab.close()
            await thief.close()
    rows = [
        Row(pattern.name, pattern.zone.name, pattern.route, known, fresh, outcomes)
        for pattern, (known, fresh), outcomes in zip(patterns, figures, attacks, strict=True)
    ]
    print(markdown(rows))
    for line in report.hardware():
        print(f"- {line}")
    print(f"- {ROUNDS} rounds of {requests} requests for each figure; load before: {load:.1f}")
    print(f"\nwritten to {written(rows)}")


def main(
    *,
    requests: Annotated[int, typer.Option(min=2, help="Requests of each figure, each round.")] = 200,
    revocation: Annotated[int, typer.Option(min=0, help="Instead: the delay of so many revocations.")] = 0,
) -> None:
    try:
        asyncio.run(revocation_delay.run(revocation) if revocation else run(requests))
    except ExtauthzError as error:
        raise SystemExit(f"patterns: {error}") from None


if __name__ == "__main__":
    typer.run(main)
