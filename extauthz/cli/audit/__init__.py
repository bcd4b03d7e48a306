"""`extauthz audit`: verify, search and show the audit trail. One module a verb."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import typer

VERBS: Final[tuple[str, ...]] = (
    "verify",
    "search",
    "tail",
    "show",
    "export",
    "reconstruct",
    "key",
)
"""Verb → `extauthz.cli.audit.<verb>.run`; listed in the order of the help."""

app = typer.Typer(no_args_is_help=True, help="Verify, search and show the audit trail.")
for _verb in VERBS:
    app.command(_verb)(import_module(f"{__name__}.{_verb}").run)
