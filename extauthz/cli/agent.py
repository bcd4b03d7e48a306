"""`extauthz agent`: one workload's identity, for Envoy and for any SPIFFE client.

Exit codes are those of `serve`: 0 after SIGTERM or SIGINT, 1 for a configuration that is refused, 2 for a wrong command
line, 4 when the socket cannot be had. An authority that is away or refuses ends nothing: the agent goes on trying.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.serve import CANNOT_SERVE
from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError, MissingPart

if TYPE_CHECKING:
    from extauthz.agent.settings import AgentSettings


def agent(config: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("extauthz.yaml")) -> None:
    """Attest this workload, keep its certificate fresh, serve it over SDS and the SPIFFE Workload API.

    Runs until SIGTERM. The process log goes to stderr; `ready:` in it, or gRPC health on the socket, says that there is
    a certificate.
    """
    from extauthz.config import load  # noqa: PLC0415 - other verbs start faster without it
    from extauthz.telemetry import logs  # noqa: PLC0415 - the same

    found = load(config)
    if found.agent is None:
        remedy = "add an `agent` block: see docs/agent.md"
        raise ConfigError((ConfigProblem(str(config), 0, "agent", "there is no agent to run", remedy),))
    logs.setup(found.telemetry.log_level)
    try:
        asyncio.run(run(found.agent))
    except (ConfigError, MissingPart):
        raise  # the root command tells these
    except ExtauthzError as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(CANNOT_SERVE) from None


async def run(settings: AgentSettings) -> None:
    """Until a signal ends it. Raises ExtauthzError when it cannot start."""
    from extauthz.agent.agent import Agent  # noqa: PLC0415 - as above
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    found = Agent(settings, SystemClock())
    try:
        await found.start()
        await ended.wait()
    finally:
        await found.stop()
