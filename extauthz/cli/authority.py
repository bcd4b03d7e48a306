"""`extauthz authority`: run the issuer of a trust domain, and give it its operator's orders.

Exit codes of `serve`: 0 after a stop, 1 for a configuration that is refused, 3 for a missing part, 4 when it cannot
serve. Of the other verbs: 0, or 1 with the reason.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError, MissingPart

if TYPE_CHECKING:
    from extauthz.config import Config

app = typer.Typer(no_args_is_help=True, help="The issuer of a trust domain: CA, attestation, tokens, revocations.")

CANNOT_SERVE: Final = 4
MAX_STDIN: Final = 16 * 1024
File = Annotated[Path, typer.Option("--config", "-c", help="The configuration file; names the admin socket.")]
DEFAULT_FILE: Final = Path("extauthz.yaml")


class What(StrEnum):
    CA = "ca"
    SIGNING = "signing"


class Kind(StrEnum):
    TOKEN = "token"  # noqa: S105 - a word
    JTI = "jti"
    SUBJECT = "subject"
    WORKLOAD = "workload"
    KEY = "key"


@app.command()
def serve(config: Annotated[Path, typer.Argument(help="The configuration file.")] = DEFAULT_FILE) -> None:
    """Serve until SIGTERM. The process log goes to stderr, audit records go to the audit trail."""
    import uvloop  # noqa: PLC0415 - other verbs start faster without it

    from extauthz.telemetry import logs  # noqa: PLC0415 - the same

    logs.setup()
    try:
        uvloop.run(_serve(_loaded(config)))
    except (ConfigError, MissingPart):
        raise  # the root command tells these
    except ExtauthzError as error:
        print(f"extauthz: {error}", file=sys.stderr)
        raise typer.Exit(CANNOT_SERVE) from None


@app.command()
def status(config: File = DEFAULT_FILE) -> None:
    """Print what is in force, as JSON: keys and their phases, connected agents, revocations."""
    _print(_ask(config, "GET", "/status"))


@app.command()
def entries(config: File = DEFAULT_FILE) -> None:
    """Print the registration entries, as JSON."""
    _print(_ask(config, "GET", "/entries"))


@app.command()
def trust(config: File = DEFAULT_FILE) -> None:
    """Print the certificate authorities of the trust domain, as PEM: what a new agent starts with (`trust_bundle`)."""
    print(_ask(config, "GET", "/trust")["pem"], end="")


@app.command()
def rotate(
    what: Annotated[What, typer.Argument(help="`ca`: X.509; `signing`: tokens.")],
    config: File = DEFAULT_FILE,
    compromised: Annotated[
        bool, typer.Option(help="Distrust the key that signs now, at once; a fresh one takes over.")
    ] = False,
) -> None:
    """Begin the next key of a set: published first, used when everybody connected knows it."""
    _print(_ask(config, "POST", "/rotate", {"what": what.value, "compromised": compromised}))


@app.command("join-token")
def join_token(
    entry: Annotated[str, typer.Argument(help="Name of a registration entry.")],
    config: File = DEFAULT_FILE,
    ttl: Annotated[int, typer.Option(help="Seconds until it is worth nothing.", min=1, max=86400)] = 600,
    instance: Annotated[
        str, typer.Option(help="Where the workload runs: a later token for the same place continues its bindings.")
    ] = "",
) -> None:
    """Print a one-time join token, and nothing else. It is shown once and nowhere kept."""
    print(_ask(config, "POST", "/join-token", {"entry": entry, "ttl": ttl, "instance": instance})["token"])


@app.command()
def revoke(
    kind: Annotated[Kind, typer.Argument(help="What the value names.")],
    value: Annotated[
        str, typer.Argument(help="The value; `-` reads it from stdin, and a token is only taken from there.")
    ] = "-",
    config: File = DEFAULT_FILE,
    reason: Annotated[str, typer.Option(help="For the record.")] = "",
) -> None:
    """Revoke a token, a token id, a subject's tokens up to now, a workload or a key; everywhere, within seconds."""
    if kind is Kind.TOKEN and value != "-":
        raise typer.BadParameter("a token on the command line is seen by everybody on this machine: use stdin")
    if value == "-":
        value = sys.stdin.read(MAX_STDIN).strip()
    _print(_ask(config, "POST", "/revoke", {"kind": kind.value, "value": value, "reason": reason}))


def _loaded(file: Path) -> Config:
    """Raises ConfigError for a file that is refused, or that configures no authority."""
    from extauthz.config import load  # noqa: PLC0415 - `--help` starts faster without it

    config = load(file)
    if config.authority is None:
        raise ConfigError((ConfigProblem(str(file), 0, "authority", "is missing", "add an authority block"),))
    return config


async def _serve(config: Config) -> None:
    import asyncio  # noqa: PLC0415 - as above
    import signal  # noqa: PLC0415 - the same
    import tempfile  # noqa: PLC0415 - the same

    from extauthz.authority.service import Authority  # noqa: PLC0415 - the same
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.telemetry import logs  # noqa: PLC0415 - the same

    logs.set_level(config.telemetry.log_level)
    if config.authority is None:
        raise AssertionError("checked when the file was loaded")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="extauthz-") as run_dir:
        authority = Authority(
            config.authority,
            store=config.store,
            policy=config.policy,
            outbound=config.outbound,
            audit=config.audit,
            run_dir=Path(run_dir),
            clock=SystemClock(),
        )
        await authority.start()
        try:
            await authority.serve(stop)
        finally:
            await authority.close()


def _ask(file: Path, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One verb over the admin socket that the file names; ends the command with the reason when it is refused."""
    import httpx  # noqa: PLC0415 - as above

    settings = _loaded(file).authority
    socket = settings.admin.removeprefix("unix://") if settings is not None else ""
    transport = httpx.HTTPTransport(uds=socket)
    try:
        with httpx.Client(transport=transport, base_url="http://authority", timeout=30) as client:
            answer = client.request(method, path, json=body)
            found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError):
        _fail(f"no authority answers on unix://{socket} (or you may not open it)")
    if answer.is_error:
        _fail(f"{found.get('error')}: {found.get('message')} (fix: {found.get('remedy')})")
    return found


def _fail(text: str) -> NoReturn:
    print(f"extauthz: {text}", file=sys.stderr)
    raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    print(json.dumps(found, indent=2))
