"""`python -m tests.faults`: every line of SECURITY-TESTS D on real parts, one row each.

Exit codes: 0 every promise was kept, 1 one was broken, 2 a wrong command line, 3 a missing part.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console

from extauthz.errors import MissingPart
from tests.faults import catalogue, report, runner

if TYPE_CHECKING:
    from tests.faults.rows import Row


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
        rows = asyncio.run(_run(options.only, core=options.core))
    except asyncio.CancelledError:
        return _TERMINATED
    except MissingPart as missing:
        _say(str(missing))
        return _MISSING
    if options.json:
        print(json.dumps({"rows": [row.plain() for row in rows]}, indent=1))  # noqa: T201 - the result
    else:
        report.table(rows)
    return 0 if rows and all(row.kept for row in rows) else 1


async def _run(only: list[str], *, core: bool) -> list[Row]:
    """Told to stop, it ends what it has started first."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await runner.run(only, core=core, say=_say)


_MISSING: Final = 3
_TERMINATED: Final = 143
_errors: Final = Console(stderr=True, highlight=False)


def _say(text: str) -> None:
    _errors.print(f"» {text}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
