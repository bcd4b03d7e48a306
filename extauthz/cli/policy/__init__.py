"""`extauthz policy`: the workbench of those who write Rego. One module a verb.

A verb is a module of this package, named in `VERBS`, whose function `run` is the command; its docstring is the help.
Heavy imports belong inside the function, so that every verb starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import typer

VERBS: Final[tuple[str, ...]] = (
    "new",
    "check",
    "fmt",
    "test",
    "eval",
    "explain",
    "bench",
    "input",
    "build",
    "serve",
    "diff",
    "replay",
    "record",
    "status",
    "promote",
    "rollback",
)
"""Verb → `extauthz.cli.policy.<verb>`, with `_` for `-`; listed in the order of the help."""

app = typer.Typer(no_args_is_help=True, help="Write, test, explain, build and roll out Rego policies.")
for _verb in VERBS:
    app.command(_verb)(import_module(f"{__name__}.{_verb.replace('-', '_')}").run)
