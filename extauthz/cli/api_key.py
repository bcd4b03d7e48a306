"""`extauthz api-key`: make a key, list the keys of a configuration, check their file. docs/api-keys.md says when."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml
from pydantic import ValidationError

from extauthz.authn.api_key_file import MAX_LIFE, parse
from extauthz.authn.api_key_new import new_key
from extauthz.authn.api_key_settings import ApiKeyRow
from extauthz.authn.files import WatchedFile
from extauthz.cli.config import DEFAULT_FILE, AsJson, File
from extauthz.clock import SystemClock
from extauthz.config import load
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config import Config

app = typer.Typer(no_args_is_help=True, help="API keys, for callers that can do no better.")

_DAY: Final = 86400.0
_SOON: Final = 14
"""Days before its end in which a key is said to end soon."""


@app.command()
def new(
    subject: Annotated[str, typer.Option("--subject", help="The service that the key speaks for.")],
    route: Annotated[list[str], typer.Option("--route", help="A route that the key opens; may be repeated.")],
    tenant: Annotated[str, typer.Option("--tenant", help="The service's tenant.")] = "",
    role: Annotated[list[str] | None, typer.Option("--role", help="A role, for the policy; may be repeated.")] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="A scope; may be repeated.")] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="The key's life in days.")] = 90,
    requests: Annotated[int, typer.Option("--requests", min=1, help="Requests in a period.")] = 60,
    per: Annotated[str, typer.Option("--per", help="The period: 1s, 1m, 1h.")] = "1m",
    as_json: AsJson = False,
) -> None:
    """Print a new key, once, and the row that goes into the file of `api_keys`. Nothing is written to a file."""
    made = new_key()
    expires = datetime.fromtimestamp(SystemClock().now() + min(days * _DAY, MAX_LIFE), UTC)
    row: dict[str, Any] = {
        "id": made.id,
        "sha256": made.sha256,
        "subject": subject,
        "tenant": tenant,
        "roles": role or [],
        "scopes": scope or [],
        "routes": route,
        "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rate": {"requests": requests, "per": per},
    }
    row = {name: value for name, value in row.items() if value}
    try:
        ApiKeyRow.model_validate(row)
    except ValidationError as error:
        raise ConfigError(
            tuple(
                ConfigProblem("the new key", 0, str(found["loc"][0]), found["msg"], "correct the option")
                for found in error.errors(include_url=False, include_context=False, include_input=False)
            )
        ) from None
    if as_json:
        print(json.dumps({"key": made.key, "row": row}, indent=2))
        return
    print(f"# The key, for its holder alone. It is shown once:\n{made.key}\n")
    print("# The row, for the file of api_keys, below `keys:`")
    print(yaml.safe_dump([row], sort_keys=False, default_flow_style=None, width=200), end="")


@app.command("list")
def list_keys(file: File = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """List the keys of a configuration: whom they speak for, what they open, when they end."""
    rows = _rows(load(file))
    now = SystemClock().now()
    if as_json:
        print(json.dumps([{**row.model_dump(exclude={"sha256"}), "state": _state(row, now)} for row in rows], indent=2))
        return
    for row in rows:
        rate = f"{row.rate.requests} in {row.rate.per:g}s"
        print(f"{row.id}  {_state(row, now)}  {row.subject}  {row.tenant or '-'}  {','.join(row.routes)}  {rate}")


@app.command()
def check(file: File = DEFAULT_FILE) -> None:
    """Read the keys as `serve` would, and say which have ended, end soon, or open nothing.

    Exit code 0 when every key opens what it names; 1 when the file is refused or a key opens nothing.
    """
    config = load(file)
    rows = _rows(config)
    now = SystemClock().now()
    wrong = list(_wrong(config, rows))
    for line in wrong:
        print(line, file=sys.stderr)
    for row in rows:
        if _state(row, now) != "valid":
            print(f"{row.id}: {_state(row, now)}", file=sys.stderr)
    print(f"{len(rows)} key{'' if len(rows) == 1 else 's'}, {len(wrong)} wrong")
    raise typer.Exit(1 if wrong else 0)


def _rows(config: Config) -> tuple[ApiKeyRow, ...]:
    """Raises ConfigError, also without a file."""
    path = config.api_keys.file
    if path is None:
        raise ConfigError((ConfigProblem(config.origin.file, 0, "api_keys.file", "names no file", "name one"),))
    content = WatchedFile(Path(path)).changed() or b""
    return parse(content, str(path), now=SystemClock().now(), max_keys=config.api_keys.max_keys)


def _wrong(config: Config, rows: tuple[ApiKeyRow, ...]) -> Iterator[str]:
    for row in rows:
        for name in row.routes:
            route = config.route(name)
            if route is None:
                yield f"{row.id}: no route is called {name}"
            elif route.credential != "api_key":
                yield f"{row.id}: the route {name} takes no API keys"


def _state(row: ApiKeyRow, now: float) -> str:
    left = row.expires - now
    if left <= 0:
        return "expired"
    return f"ends in {int(left // _DAY)} days" if left < _SOON * _DAY else "valid"
