"""`python -m tests.faults`: every line of SECURITY-TESTS D on real parts, one row each.

Exit codes: 0 every promise was kept, 1 one was broken, 2 a wrong command line, 3 a missing part.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Final

from rich.console import Console

from extauthz.errors import MissingPart
from tests.faults import catalogue, report, runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this row; may be given again")
    parser.add_argument("--core", action="store_true", help="the rows that run with every `make test`")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of the table")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    options = parser.parse_args()
    known = [scenario.name for family in catalogue.FAMILIES for scenario in family.scenarios]
    if options.list:
        print("\n".join(known))  # noqa: T201 - what was asked for
        return 0
    if unknown := set(options.only) - set(known):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; --list names them")
    try:
        rows = asyncio.run(runner.run(options.only, core=options.core, say=_say))
    except MissingPart as missing:
        _say(str(missing))
        return _MISSING
    if options.json:
        print(json.dumps({"rows": [row.plain() for row in rows]}, indent=1))  # noqa: T201 - the result
    else:
        report.table(rows)
    return 0 if rows and all(row.kept for row in rows) else 1


_MISSING: Final = 3
_errors: Final = Console(stderr=True, highlight=False)


def _say(text: str) -> None:
    _errors.print(f"» {text}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
