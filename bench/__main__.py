"""`python -m bench`: what authorization costs, every variant through one Envoy."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from bench import report
from bench.lab import Lab
from bench.run import Plan, measure
from bench.variants import VARIANTS, select
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = Plan(repeats=2, seconds=2.0, warmup=0.5)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended then, too
    plan = QUICK if options.quick else Plan()
    given = {name: getattr(options, name) for name in ("repeats", "seconds", "conns", "rate", "threads")}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    plan = replace(plan, load_before=os.getloadavg()[0])
    try:
        variants = select(options.only)
    except KeyError as unknown:
        print(f"bench: no variant {unknown}; there are {', '.join(one.name for one in VARIANTS)}", file=sys.stderr)
        return 2
    console = Console(stderr=True)
    try:
        with console.status("starting") as status, Lab(variants, plan.threads, _say(console, status.update)) as lab:
            results = measure(lab, variants, plan, _say(console, status.update))
            broken = lab.traces()
    except ExtauthzError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    rows = [result.row() for result in results]
    file = report.write(rows, plan)
    if options.json:
        print(json.dumps(rows))
    else:
        report.show(rows, plan)
        print(f"written to {file.relative_to(file.parents[2])}")
    problems = [f"{row['name']}: {problem}" for row in rows for problem in row["problems"]]
    problems += [f"{name}: a traceback in its log" for name in broken]
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _say(console: Console, update: Callable[[str], None]) -> Callable[[str], None]:
    return update if console.is_terminal else lambda text: print(f"bench: {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, under three minutes")
    parser.add_argument("--only", action="extend", nargs="+", default=[], metavar="NAME", help="only these variants")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, no table")
    parser.add_argument("--repeats", type=int, help="rounds at the limit (5)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (8)")
    parser.add_argument("--conns", type=int, help="client connections (16)")
    parser.add_argument("--rate", type=float, help="requests a second of the steady rounds (250)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of the front Envoy (the cores)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
