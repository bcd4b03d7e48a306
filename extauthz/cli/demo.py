"""`extauthz demo`: the wire-transfer flow on real Envoys, and the attempts that must fail."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from extauthz.demo import report, session
from extauthz.errors import ConfigError, ExtauthzError, MissingPart


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of output.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running until Ctrl-C.")] = False,
    scenario: Annotated[str | None, typer.Option(help="Run only the scenario of this name.")] = None,
    load: Annotated[float, typer.Option(help="Then send transfers for this many seconds.", min=0, max=3600)] = 0.0,
    port: Annotated[int, typer.Option(help="Port of the edge's Envoy; 0 takes a free one.", min=0, max=65535)] = 0,
    down: Annotated[bool, typer.Option("--down", help="End the platform that --keep left running.")] = False,
) -> None:
    """Start four zones behind real Envoys, make a transfer, and try what must fail.

    Exit code 0: every row is as expected; 1: one is not; 2: the platform cannot start; 3: a part is missing.
    """
    try:
        if down:
            print("The demonstration has ended." if session.down() else "No demonstration is running.")
            return
        with session.kept() if keep else contextlib.nullcontext():
            work = session.run(report.choose(as_json=as_json), scenario=scenario, keep=keep, load=load, edge_port=port)
            sound = asyncio.run(work)
    except (ConfigError, MissingPart):
        raise
    except ExtauthzError as error:
        print(f"extauthz demo: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Ended; nothing is left running.", file=sys.stderr)
        raise typer.Exit(0 if keep else 130) from None
    raise typer.Exit(0 if sound else 1)
