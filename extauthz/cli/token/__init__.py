"""`extauthz token`: look at tokens, and at why a route would refuse them; get, make and revoke some. One module a verb.

Laws of every verb:
1. A token comes from stdin or from a file (`@path`), never from the command line: arguments are seen by everybody.
2. A token goes to stdout, and only where getting one is what the verb is for; never into an error or a table.
3. Input is bounded before it is read, and every call in time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import typer

VERBS: Final[tuple[str, ...]] = ("inspect", "explain", "mint", "sign-in", "exchange", "revoke")
"""Verb → `extauthz.cli.token.<verb>`, with `_` for `-`; listed in the order of the help."""

app = typer.Typer(no_args_is_help=True, help="Inspect, explain, make, exchange and revoke tokens.")
for _verb in VERBS:
    app.command(_verb)(import_module(f"{__name__}.{_verb.replace('-', '_')}").run)
