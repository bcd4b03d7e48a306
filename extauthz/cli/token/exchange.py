"""`extauthz token exchange`: a token for another service in exchange for one that came (RFC 8693)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.token.reading import STDIN, Token, token_of
from extauthz.cli.token.service import (
    TIMEOUT,
    AuthorityUrl,
    ConfigFile,
    Place,
    Socket,
    answer_of,
    connected,
    issued,
    place_of,
)

if TYPE_CHECKING:
    from extauthz.sts.answers import Issued, Refused


class Kind(StrEnum):
    ACCESS_TOKEN = "access_token"  # noqa: S105 - a word
    TRANSACTION_TOKEN = "transaction_token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class _Question:
    """As `sts.client.Question`."""

    audience: str
    scopes: tuple[str, ...]
    purpose: str
    lifetime: float | None
    kind: str


def run(
    audience: Annotated[str, typer.Option(help="The service that the new token is for.")],
    token: Token = STDIN,
    scope: Annotated[list[str] | None, typer.Option(help="A scope; repeatable. Without: the subject token's.")] = None,
    purpose: Annotated[str, typer.Option(help="The same purpose, or a narrower one.")] = "",
    lifetime: Annotated[int | None, typer.Option(help="Seconds, at most.", min=1, max=3600)] = None,
    kind: Annotated[Kind, typer.Option(help="What is asked for.")] = Kind.ACCESS_TOKEN,
    authority: AuthorityUrl = "",
    config: ConfigFile = None,
    socket: Socket = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Exchange the subject token on stdin, as the workload whose SVID the Workload API gives; print the new token."""
    place = place_of(authority, config, socket, None)
    question = _Question(audience, tuple(scope or ()), purpose, lifetime, kind.value)
    issued(answer_of(_ask(place, token_of(token), question)), as_json=as_json)


async def _ask(place: Place, subject_token: str, question: _Question) -> Issued | Refused:
    """Raises ExtauthzError."""
    from extauthz.sts.client import ExchangeClient  # noqa: PLC0415 - other verbs start faster

    async with connected(place, svid=True) as client:
        return await ExchangeClient(f"{place.url}/token", client).exchange(subject_token, question, timeout=TIMEOUT)
