"""Three times more than it can do: `python -m bench.overload [--seconds N] [--times X] [--json]`.

One Envoy, the OPA sidecar, a new decision for every request (caches off), the same route once for each criticality. The
server and its OPA have a core of their own, Envoy and the generator another one.

1. saturation: closed loop, as fast as it goes
2. steady: open loop at half of it, 20 % critical, 40 % normal, 40 % sheddable
3. overload: open loop at three times of it, the same mix; once without admission, once with

Latency counts from when a request was due (no coordinated omission), and nobody honours `retry-after`. What is promised
is a ratio in one run: the p99 of critical requests under overload, against the same at the steady rate.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from bench import generator
from bench.lab import Lab
from bench.variants import Server, Variant
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIX: Final = {"critical": 0.2, "normal": 0.4, "sheddable": 0.4}
CONNS: Final = {"critical": 128, "normal": 256, "sheddable": 256}
"""Enough to keep the loop open; the Checks of all of them together fit into `max_concurrent`."""
WARMUP: Final = 2.0
PROMISED: Final = 2.0
OFF: Final = Server("no-admission", "envoy", caches=False, admission=False)
ON: Final = Server("admission", "envoy", caches=False, admission=True)


def variant(server: Server, name: str) -> Variant:
    return Variant(f"{server.name}-{name}", f"{name} route", server, route=name)


VARIANTS: Final = {server.name: {name: variant(server, name) for name in MIX} for server in (OFF, ON)}


@dataclass(frozen=True, slots=True)
class Class:
    """What one criticality got. Times in milliseconds, of all its requests; `good`: allowed ones a second."""

    p50: float
    p99: float
    asked: int
    allowed: int
    shed: int
    """Refused by admission."""
    late: int
    """Neither: no decision came in time, or no answer at all."""
    good: float

    @classmethod
    def of(cls, said: Mapping[str, Any], shed: int) -> Class:
        """`shed`: in the warm-up as well, so it is taken in proportion to the time."""
        allowed = said["statuses"].get("200", 0)
        asked = said["requests"] + said["failed"]
        shed = min(round(shed * said["seconds"] / (said["seconds"] + WARMUP)), asked - allowed)
        return cls(
            p50=said["p50_us"] / 1e3,
            p99=said["p99_us"] / 1e3,
            asked=asked,
            allowed=allowed,
            shed=shed,
            late=asked - allowed - shed,
            good=allowed / said["seconds"],
        )


Phase = dict[str, Class]


class Overload:
    def __init__(self, lab: Lab, seconds: float) -> None:
        self._lab = lab
        self._seconds = seconds
        self._program = generator.build()

    def saturation(self, server: Server) -> float:
        """Requests a second of the critical route, closed loop."""
        found = self._one(VARIANTS[server.name]["critical"], rate=0.0, conns=16)
        return float(found["rps"])

    def phase(self, server: Server, rate: float) -> Phase:
        """All classes at once, `rate` requests a second together."""
        before = self._shed(server)
        with ThreadPoolExecutor(len(MIX)) as pool:
            found = {
                name: pool.submit(self._one, VARIANTS[server.name][name], rate=rate * share, conns=CONNS[name])
                for name, share in MIX.items()
            }
            said = {name: one.result() for name, one in found.items()}
        after = self._shed(server)
        return {name: Class.of(one, after[name] - before[name]) for name, one in said.items()}

    def _shed(self, server: Server) -> dict[str, int]:
        """What the server has shed so far."""
        transport = httpx.HTTPTransport(uds=str(self._lab.folder / server.name / "http.sock"))
        with httpx.Client(transport=transport, base_url="http://local", trust_env=False) as client:
            page = client.get("/metrics").text
        found = dict.fromkeys(MIX, 0)
        for name, count in re.findall(
            r'^extauthz_shed_total\{.*criticality="(\w+)".*\} ([0-9.e+]+)$', page, re.MULTILINE
        ):
            found[name] += int(float(count))
        return found

    def _one(self, of: Variant, *, rate: float, conns: int) -> dict[str, Any]:
        line = generator.command(
            self._program,
            self._lab.target,
            of,
            self._lab.folder / "users.txt",
            conns=conns,
            rate=rate,
            warmup=WARMUP,
            seconds=self._seconds,
        )
        return generator.run(line, self._seconds + WARMUP)[1]


def run(seconds: float, times: float) -> dict[str, Any]:
    """Raises ExtauthzError."""
    variants = [one for of in VARIANTS.values() for one in of.values()]
    with Lab(variants, 1, _say) as lab:
        _apart(lab)
        bench = Overload(lab, seconds)
        _say("saturation")
        most = bench.saturation(OFF)
        phases = {}
        for name, server, rate in (
            ("steady", ON, most / 2),
            ("overload, no admission", OFF, most * times),
            ("overload, admission", ON, most * times),
            ("steady again", ON, most / 2),
        ):
            _say(f"{name}: {rate:.0f}/s")
            phases[name] = bench.phase(server, rate)
        if traces := lab.traces():
            raise ExtauthzError(f"a traceback in the log of {', '.join(traces)}")
    return {"saturation": most, "times": times, "phases": phases}


def _apart(lab: Lab) -> None:
    """The server and its OPA on a core of their own, Envoy and the generator on another: the server saturates first."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        _say("one core for all: what Envoy and the generator take is not the server's")
        return
    for server in (OFF, ON):
        lab.pin(server.name, {cores[0]})
    lab.pin("front", set(cores[1:]))
    os.sched_setaffinity(0, set(cores[1:]))  # and the generators, which we start


def ratios(phases: Mapping[str, Phase]) -> dict[str, float]:
    """The critical p99 of each phase, as a multiple of the steady one's."""
    steady = phases["steady"]["critical"].p99
    return {name: phase["critical"].p99 / steady for name, phase in phases.items()}


def show(found: Mapping[str, Any]) -> None:
    table = Table(
        *("phase", "class", "asked", "allowed", "shed", "late", "allowed/s", "p50 ms", "p99 ms", "p99 ×"),
        title=f"saturation {found['saturation']:.0f}/s, overload {found['times']:g} times that",
        title_justify="left",
    )
    times = ratios(found["phases"])
    for name, phase in found["phases"].items():
        for of, row in phase.items():
            ratio = f"{times[name]:.2f}" if of == "critical" else ""
            counts = (row.asked, row.allowed, row.shed, row.late)
            figures = (f"{row.good:.0f}", f"{row.p50:.1f}", f"{row.p99:.1f}", ratio)
            table.add_row(name if of == "critical" else "", of, *map(str, counts), *figures)
    Console(width=120).print(table)
    kept = times["overload, admission"]
    print(f"critical p99 at {found['times']:g}x: {kept:.2f} of steady with admission (promise: {PROMISED:g}),", end=" ")
    print(f"{times['overload, no admission']:.2f} without")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a measurement (6)")
    parser.add_argument("--times", type=float, default=3.0, help="of the saturation (3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    try:
        found = run(options.seconds, options.times)
    except ExtauthzError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        plain = {name: {of: vars_of(row) for of, row in phase.items()} for name, phase in found["phases"].items()}
        print(json.dumps({**found, "phases": plain, "ratios": ratios(found["phases"])}))
    else:
        show(found)
    return 0 if ratios(found["phases"])["overload, admission"] <= PROMISED else 1


def vars_of(row: Class) -> dict[str, float]:
    return {name: getattr(row, name) for name in Class.__slots__}


if __name__ == "__main__":
    sys.exit(main())
