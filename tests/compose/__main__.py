"""`python -m tests.compose`: docker-compose.yml brought up for real; what `make compose-test` runs.

1. An engine (found, or started by a helper) and the images (pulled, or built from packages under the same names).
2. The scenario table: the same scenarios as `extauthz demo`.
3. The isolation table: what only containers show, faults under load, a rolling restart, Prometheus with our rules.
4. Everything is removed again, and nothing may be left.

Exit code 0: every row is as expected; 1: one is not; 2: something could not be started; 3: a part is missing (0 outside
of CI, where a machine without an engine is no failure).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

from extauthz.demo.lab import Lab
from extauthz.demo.report import PlainReport
from extauthz.demo.runner import Row, Runner, choose
from extauthz.errors import ExtauthzError, MissingPart
from tests.compose import faults, images, isolation, lint, observability
from tests.compose.engine import Engine, find
from tests.compose.platform import ComposePlatform
from tests.compose.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 60.0
PARTS = ("scenarios", "isolation", "faults", "scale", "observability")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Clock:
    """Says what begins, and how long everything has taken so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        say(f"» {self.seconds:4.0f} s  {text}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


async def _scenarios(platform: ComposePlatform, lab: Lab, clock: Clock, name: str | None) -> list[Row]:
    report, runner, rows = PlainReport(sys.stdout), Runner(platform, lab), []
    clock.step("scenarios")
    for scenario in choose(name):
        rows.append(await runner.run(scenario))
        report.row(rows[-1])
    report.end(rows, clock.seconds)
    return rows


async def _platform(engine: Engine, table: Table, clock: Clock, options: argparse.Namespace) -> list[Row]:
    platform = ComposePlatform(engine, say)
    clock.step("images")
    config = await platform.config()
    for image in await images.ready(engine, config, clock.step):
        say(f"  {image}: a stand-in, built from packages")
    await images.build(engine, clock.step)
    clock.step("lint")
    await lint.run(engine, table)
    clock.step("docker compose up")
    async with platform:
        clock.step("all containers are well")
        lab = Lab(platform)
        try:
            clock.step("the first transfer")
            await Runner(platform, lab).warm_up(WARM_UP)
            rows = await _parts(platform, lab, table, clock, options)
        finally:
            await lab.close()
        clock.step("docker compose down")
        complaint = await platform.down()
        left = await platform.leftovers()
        table.add("down", "containers, networks, volumes left", "nothing", complaint or ", ".join(left) or "nothing")
    return rows


async def _parts(
    platform: ComposePlatform, lab: Lab, table: Table, clock: Clock, options: argparse.Namespace
) -> list[Row]:
    wanted, rows = options.part or PARTS, []
    if "scenarios" in wanted:
        rows = await _scenarios(platform, lab, clock, options.scenario)
    if "isolation" in wanted:
        clock.step("isolation")
        await isolation.run(platform, lab, table)
    if "faults" in wanted:
        clock.step("faults under load")
        await faults.run(platform, lab, table)
    if "scale" in wanted:
        clock.step("docker compose --profile scale up")
        await platform.up("scale")
        clock.step("a rolling restart")
        await faults.rolling(platform, lab, table)
    if "observability" in wanted:
        clock.step("docker compose --profile observability up")
        await platform.up("observability")
        await observability.run(platform, table)
    traces = await platform.tracebacks()
    table.add("logs", "tracebacks in any log", "none", "; ".join(traces)[:300] or "none")
    return rows


async def _run(options: argparse.Namespace) -> bool:
    clock, table = Clock(), Table(say)
    clock.step("looking for a container engine")
    engine = await asyncio.to_thread(find, clock.step)
    try:
        rows = await _platform(engine, table, clock, options)
    finally:
        if not options.keep_engine:
            await asyncio.to_thread(engine.down)
    good = sum(row.ok for row in rows) + sum(row.ok for row in table.rows)
    bad = [row.scenario.name for row in rows if not row.ok] + [row.name for row in table.rows if not row.ok]
    say(
        f"{good} of {good + len(bad)} rows as expected in {clock.seconds:.0f} s"
        + (f"; not: {', '.join(bad)}" if bad else "")
    )
    return not bad


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description="docker-compose.yml, for real.")
    parser.add_argument("--scenario", help="only the scenario of this name, before the isolation table")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part (may be repeated)")
    parser.add_argument("--keep-engine", action="store_true", help="leave an engine running that was started for this")
    options = parser.parse_args(arguments)
    try:
        return 0 if asyncio.run(_run(options)) else 1
    except MissingPart as missing:
        say(f"compose-test: {missing}")
        return 3 if os.environ.get("CI") else 0
    except ExtauthzError as error:
        say(f"compose-test: {error}")
        return 2
    except KeyboardInterrupt:
        say("ended; nothing is left running")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
