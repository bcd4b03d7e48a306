"""`extauthz serve`: answer Envoy's Checks.

Exit codes: 0 after a drain, 1 for a configuration that is refused, 2 for a wrong command line, 3 for a missing part,
4 when an address or a worker fails.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError

from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError, MissingPart
from extauthz.transport.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from extauthz.config import Config

CANNOT_SERVE: Final = 4


class TransportName(StrEnum):
    AUTO = "auto"
    ENVOY = "envoy"
    GRPCIO = "grpcio"


def serve(
    config: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("extauthz.yaml"),
    transport: Annotated[TransportName | None, typer.Option(help="Instead of server.transport.")] = None,
    listen: Annotated[str | None, typer.Option(help="Instead of server.listen: host:port or unix:///path.")] = None,
    http: Annotated[str | None, typer.Option(help="Instead of server.http: host:port or unix:///path.")] = None,
    workers: Annotated[int | None, typer.Option(help="Instead of server.workers.")] = None,
) -> None:
    """Answer Envoy's Checks until SIGTERM; SIGHUP reloads.

    The process log goes to stderr, decision records go where telemetry.records says.
    """
    from extauthz.clock import SystemClock  # noqa: PLC0415 - other verbs start faster without the server
    from extauthz.shared import SharedParts  # noqa: PLC0415 - the same
    from extauthz.supervisor import Supervisor  # noqa: PLC0415 - the same
    from extauthz.telemetry import logs  # noqa: PLC0415 - the same

    named = {"transport": transport and transport.value, "listen": listen, "http": http, "workers": workers}
    wanted = {name: value for name, value in named.items() if value is not None}
    override(ServerSettings(), wanted)  # a wrong command line is told before anything starts
    logs.setup()
    clock = SystemClock()

    async def run() -> None:
        await Supervisor(
            config=config,
            make_shared=lambda run_dir: SharedParts(config, run_dir, clock),
            service="extauthz.app:Application",
            clock=clock,
            adjust=lambda config: allowed(config, override(config.server, wanted)),
        ).run()

    try:
        _run(run())
    except (ConfigError, MissingPart):
        raise  # the root command tells these
    except ExtauthzError as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(CANNOT_SERVE) from None


def override(settings: ServerSettings, wanted: dict[str, Any]) -> ServerSettings:
    """`settings` with what the command line says. Raises typer.BadParameter when the two do not fit."""
    addresses = {name: getattr(settings, name) for name in ("transport", "listen", "http", "workers")}
    try:
        checked = ServerSettings(**(addresses | wanted))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{where}: {first['msg']}" if where else first["msg"]) from None
    return settings.model_copy(update={name: getattr(checked, name) for name in wanted})


def allowed(config: Config, server: ServerSettings) -> ServerSettings:
    """What the command line made of the server's settings, held to the rules that the file is held to.

    Raises ConfigError: no option gets around a rule.
    """
    from extauthz.config.checks import findings  # noqa: PLC0415 - other verbs start faster without it

    problems = tuple(
        ConfigProblem("command line", 0, ".".join(map(str, found.location)), found.message, found.remedy)
        for found in findings(config.model_copy(update={"server": server}))
    )
    if problems:
        raise ConfigError(problems)
    return server


def _run(work: Coroutine[Any, Any, None]) -> None:
    import asyncio  # noqa: PLC0415 - as above

    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
