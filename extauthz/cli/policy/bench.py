"""`extauthz policy bench`: how fast a policy answers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.policy.output import HERE, AsJson, Directory, print_json, print_table, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.policy.authoring.benching import Measured


class Engines(StrEnum):
    BOTH = "both"
    EMBEDDED = "embedded"
    SIDECAR = "sidecar"


def run(
    directory: Directory = HERE,
    engine: Annotated[Engines, typer.Option(help="Which engine to measure.")] = Engines.BOTH,
    rule: Annotated[str, typer.Option("--entrypoint", "-e", help="Only this entrypoint.")] = "",
    seconds: Annotated[float, typer.Option(help="How long each is measured.", min=0.01, max=600)] = 2.0,
    askers: Annotated[int, typer.Option(help="How many questions are under way at once.", min=1, max=256)] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure decisions a second, and microseconds a decision (p50, p99), without any cache.

    The questions are the inputs of the decision cases, cut down to what the entrypoint reads.
    """
    import asyncio  # noqa: PLC0415 - other verbs start faster
    from dataclasses import asdict  # noqa: PLC0415 - the same

    rows = asyncio.run(_measure(directory, engine, rule, seconds, askers))
    if not rows:
        refuse("no decision case asks the policy: write cases.yaml", code=1)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    head = ("engine", "entrypoint", "decisions/s", "p50 µs", "p99 µs", "faults")
    print_table(
        head,
        [(r.engine, r.entrypoint, f"{r.per_second:.0f}", f"{r.p50:.0f}", f"{r.p99:.0f}", str(r.faults)) for r in rows],
    )


async def _measure(directory: Path, engine: Engines, rule: str, seconds: float, askers: int) -> list[Measured]:
    from extauthz.cli.policy.questions import entrypoint  # noqa: PLC0415 - other verbs start faster
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.policy.authoring import benching  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.opening import cases_of, open_policy  # noqa: PLC0415 - the same
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same

    wanted = entrypoint(rule) if rule else ""
    cases = [case for case in cases_of(directory) if case.entrypoint == (wanted or case.entrypoint)]
    engines = benching.ENGINES if engine is Engines.BOTH else (engine.value,)
    measured = benching.bench(
        find_tool(), open_policy(directory), cases, clock=SystemClock(), seconds=seconds, askers=askers, engines=engines
    )
    return [row async for row in measured]
