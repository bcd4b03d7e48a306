"""`extauthz token sign-in`: a development user's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.token.service import (
    AuthorityUrl,
    ConfigFile,
    Place,
    Socket,
    TrustBundle,
    answer_of,
    connected,
    issued,
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.sts.answers import Issued, Refused


def run(
    user: Annotated[str, typer.Argument(help="A user of the authority's `sts.development`.")],
    audience: Annotated[str, typer.Option(help="The service that the token is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope; repeatable. Without: all of the user's.")] = None,
    purpose: Annotated[str, typer.Option(help="The purpose. Without: the user's first.")] = "",
    acr: Annotated[str, typer.Option(help="The strength of sign-in that is played.")] = "",
    bound: Annotated[bool, typer.Option("--bound", help="Bind the token to our SVID (--socket).")] = False,
    authority: AuthorityUrl = "",
    config: ConfigFile = None,
    socket: Socket = "",
    trust_bundle: TrustBundle = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Sign in by name alone, where the authority offers that: development. Prints the token on stdout."""
    form = {
        "username": user,
        "audience": audience,
        "scope": " ".join(scope or ()),
        "purpose": purpose,
        "acr": acr,
    }
    issued(answer_of(_ask(place_of(authority, config, socket, trust_bundle), form, bound=bound)), as_json=as_json)


async def _ask(place: Place, form: Mapping[str, str], *, bound: bool) -> Issued | Refused:
    """Raises ExtauthzError."""
    from urllib.parse import urlencode  # noqa: PLC0415 - other verbs start faster

    from extauthz.sts.answers import ACCESS_TOKEN, SIGN_IN  # noqa: PLC0415 - the same
    from extauthz.sts.client import MAX_ANSWER, read  # noqa: PLC0415 - the same
    from extauthz.sts.form import CONTENT_TYPE  # noqa: PLC0415 - the same

    content = urlencode({"grant_type": SIGN_IN, **{name: value for name, value in form.items() if value}}).encode()
    async with connected(place, svid=bound) as client:
        response = await client.send(
            "POST",
            f"{place.url}/token",
            content=content,
            headers={"content-type": CONTENT_TYPE, "accept": "application/json"},
            max_bytes=MAX_ANSWER,
        )
    return read(response, ACCESS_TOKEN)
