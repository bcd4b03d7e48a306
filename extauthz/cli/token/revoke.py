"""`extauthz token revoke`: give a token back (RFC 7009), with everything that was derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.tables import print_json
from extauthz.cli.token.reading import STDIN, Token, token_of
from extauthz.cli.token.service import AuthorityUrl, ConfigFile, Place, Socket, answer_of, connected, place_of, refused

if TYPE_CHECKING:
    from extauthz.sts.answers import Refused

_OK = 200


def run(
    token: Token = STDIN,
    authority: AuthorityUrl = "",
    config: ConfigFile = None,
    socket: Socket = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Revoke the token on stdin, as a workload that holds it: its audience, its client, or one of its actors.

    A token that nobody has issued is no error (RFC 7009 section 2.2). Operators use `extauthz authority revoke`.
    """
    answer = answer_of(_ask(place_of(authority, config, socket, None), token_of(token)))
    if answer is not None:
        from extauthz.sts.answers import Refused  # noqa: PLC0415 - other verbs start faster

        refused(answer if isinstance(answer, Refused) else None, as_json=as_json)
    if as_json:
        print_json({"revoked": True})
    else:
        print("it does not work any more, or never did")


async def _ask(place: Place, token: str) -> Refused | None:
    """Raises ExtauthzError."""
    from urllib.parse import urlencode  # noqa: PLC0415 - other verbs start faster

    from extauthz.errors import OutboundError  # noqa: PLC0415 - the same
    from extauthz.sts.answers import ACCESS_TOKEN, Refused  # noqa: PLC0415 - the same
    from extauthz.sts.client import MAX_ANSWER, read  # noqa: PLC0415 - the same
    from extauthz.sts.form import CONTENT_TYPE  # noqa: PLC0415 - the same

    async with connected(place, svid=True) as client:
        response = await client.send(
            "POST",
            f"{place.url}/revoke",
            content=urlencode({"token": token}).encode(),
            headers={"content-type": CONTENT_TYPE, "accept": "application/json"},
            max_bytes=MAX_ANSWER,
        )
    if response.status == _OK:
        return None
    answer = read(response, ACCESS_TOKEN)
    if not isinstance(answer, Refused):
        raise OutboundError("the authority's answer is none to a revocation")
    return answer
