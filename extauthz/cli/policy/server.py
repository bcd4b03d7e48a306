"""Where the verbs that ask a running server find it, and with which token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.policy.output import refuse

if TYPE_CHECKING:
    from extauthz.api.client import ServerApi

Server = Annotated[
    str, typer.Option("--server", envvar="EXTAUTHZ_SERVER", help="http://host:port or unix:///path of server.http.")
]
Config = Annotated[Path, typer.Option("--config", help="Where --server is not given, server.http of this file.")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", envvar="EXTAUTHZ_TOKEN_FILE", help="A file with a bearer token.")
]
DEFAULT = Path("extauthz.yaml")


def api(server: str, config: Path, token_file: Path | None) -> ServerApi:
    from extauthz.api.client import ApiError, ServerApi  # noqa: PLC0415 - other verbs start faster

    try:
        return ServerApi(server or _of_config(config), token(token_file))
    except ApiError as error:
        refuse(str(error))


def _of_config(config: Path) -> str:
    from extauthz.config import load  # noqa: PLC0415 - other verbs start faster

    if not config.is_file():
        refuse(f"which server? Name it with --server, or its configuration with --config ({config} is not there)")
    http = load(config).server.http
    return http if http.startswith("unix://") else f"http://{http}"


def token(file: Path | None) -> str:
    """The bearer token in a file; empty when none is named."""
    if file is None:
        return ""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{file}: {getattr(error, 'strerror', '') or 'is not a text'}")
