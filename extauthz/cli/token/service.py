"""The authority's token service, as the verbs of `extauthz token` ask it: over TLS, with an SVID where one is needed.

The SVID comes from a SPIFFE Workload API (`--socket`, `identity.socket`) or from the files of `identity`; its key stays
in memory. The authority must then prove its SPIFFE ID; without an SVID it is known by host name and `--trust-bundle`.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from extauthz.cli.tables import print_json
from extauthz.cli.token.reading import fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from extauthz.authn.settings import IdentitySettings
    from extauthz.config import Config
    from extauthz.outbound import Outbound
    from extauthz.sts.answers import Issued, Refused

AuthorityUrl = Annotated[str, typer.Option("--authority", help="The authority: https://host:port.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration with `sts` and `identity`, or `agent`, to take them from."),
]
Socket = Annotated[str, typer.Option("--socket", help="SPIFFE Workload API to have the SVID from: unix:///path.")]
TrustBundle = Annotated[
    Path | None,
    typer.Option("--trust-bundle", help="PEM file with the CAs that vouch for the authority, without an SVID."),
]
TIMEOUT: Final = 10.0
"""Seconds for one question."""
_CODE: Final = re.compile(r"\[([a-z_]+\.[a-z_]+)\]$")
_REMEDIES: Final = {
    "exchange.target": "Name the audience in the workload's entry (`exchange_to`), and ask for exactly one.",
    "exchange.scope": "Ask for scopes that the subject token has.",
    "exchange.purpose": "Ask for the same purpose, or one below it (`sts.purposes`).",
    "exchange.depth": "The token has gone through as many workloads as may be: start from the user's token.",
    "exchange.loop": "This workload is an actor of the token already: it must not have it twice.",
    "exchange.act": "The token's actors are not who brings it: let the workload exchange that received it.",
    "exchange.may_act": "The token names another workload that may act with it (`may_act`).",
    "exchange.tenant": "The workload is registered for another tenant.",
    "exchange.request": "See docs/token-boundaries.md for the parameters.",
    "exchange.too_large": "The new token would be too large: carry fewer claims.",
    "client.missing": "Show an SVID: --socket, or a configuration with `identity`.",
    "sign_in.remote": "Sign in from the authority's machine, or set `development.from_anywhere`.",
    "sign_in.user": "Ask for what `sts.development.users` lists for the user.",
    "revocation.client": "Only who holds a token may revoke it so; operators use `extauthz authority revoke`.",
    "invalid_client": "Show an SVID that the authority issued: --socket, or a configuration with `identity`.",
    "unsupported_grant_type": "The authority does not offer this: the sign-in needs `sts.development`.",
    "temporarily_unavailable": "Try again; look at the authority's log.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the authority is, who we are there, and how it is known."""

    url: str
    identity: IdentitySettings | None = None
    trust_bundle: Path | None = None


def place_of(authority: str, file: Path | None, socket: str, trust_bundle: Path | None) -> Place:
    """Options win over the configuration. Raises ConfigError; ends the command where it is not clear whom to ask."""
    from pydantic import ValidationError  # noqa: PLC0415 - other verbs start faster

    from extauthz.authn.settings import IdentitySettings  # noqa: PLC0415 - the same
    from extauthz.config import load  # noqa: PLC0415 - the same

    known = Place("") if file is None else _configured(load(file))
    try:
        identity = IdentitySettings(socket=socket) if socket else known.identity
    except ValidationError:
        fail("--socket takes unix:///path", 2)
    url = authority.rstrip("/") or known.url
    if not url.startswith("https://"):
        fail("say which authority: --authority https://host:port, or a configuration with `sts` or `agent`", 2)
    return Place(url, identity, trust_bundle or known.trust_bundle)


def _configured(config: Config) -> Place:
    from extauthz.authn.settings import IdentitySettings  # noqa: PLC0415 - other verbs start faster

    identity = config.identity
    if config.sts is not None:
        bundle = None if identity is None else identity.trust_bundle
        return Place(config.sts.url.removesuffix("/token"), identity, bundle)
    if config.agent is not None:
        return Place(config.agent.authority, IdentitySettings(socket=config.agent.socket), config.agent.trust_bundle)
    if config.authority is not None:
        return Place(config.authority.sts.issuer, identity, config.authority.publish)
    return Place("", identity)


@asynccontextmanager
async def connected(place: Place, *, svid: bool) -> AsyncIterator[Outbound]:
    """A client for the authority; with `svid` it shows ours. Raises ExtauthzError."""
    from extauthz.check.own_identity import ServerIdentity  # noqa: PLC0415 - other verbs start faster
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.errors import ExtauthzError  # noqa: PLC0415 - the same
    from extauthz.outbound import Outbound, OutboundSettings  # noqa: PLC0415 - the same

    if not svid:
        known = Outbound(
            [place.url], timeout=TIMEOUT, verify=OutboundSettings(trust_bundle=place.trust_bundle).verify()
        )
        try:
            yield known
        finally:
            await known.close()
        return
    if place.identity is None:
        raise ExtauthzError("this needs an SVID: --socket unix:///path, or a configuration with `identity` or `agent`")
    identity = ServerIdentity(place.identity, SystemClock())
    own = Outbound([place.url], timeout=TIMEOUT, verify=identity.context)
    try:
        await identity.start()
        if not identity.ready:
            raise ExtauthzError("no SVID was had: does the agent run, and may you open its socket?")
        yield own
    finally:
        await own.close()
        await identity.close()


def answer_of(question: Coroutine[Any, Any, Issued | Refused | None]) -> Issued | Refused | None:
    """Asks; a fault ends the command with its reason, a configuration that is refused goes on to the root command."""
    import asyncio  # noqa: PLC0415 - other verbs start faster

    from extauthz.errors import ConfigError, ExtauthzError  # noqa: PLC0415 - the same

    try:
        return asyncio.run(question)
    except ConfigError:
        raise
    except ExtauthzError as error:
        fail(str(error))


def issued(answer: Issued | Refused | None, *, as_json: bool) -> None:
    """Prints a token on stdout, or a refusal with what helps."""
    from extauthz.sts.answers import Issued  # noqa: PLC0415 - other verbs start faster

    if not isinstance(answer, Issued):
        refused(answer, as_json=as_json)
    if as_json:
        print_json(answer.body())
    else:
        print(answer.token)


def refused(answer: Refused | None, *, as_json: bool) -> NoReturn:
    from extauthz.codes import CODES  # noqa: PLC0415 - other verbs start faster
    from extauthz.sts.answers import Refused  # noqa: PLC0415 - the same

    if not isinstance(answer, Refused):
        fail("the authority gave no answer")
    match = _CODE.search(answer.description)
    code = match[1] if match else ""
    known = CODES.get(code)
    remedy = _REMEDIES.get(code) or (known.remedy if known else "") or _REMEDIES.get(answer.error, "")
    if as_json:
        print_json({"error": answer.error, "error_description": answer.description, "code": code, "remedy": remedy})
        raise typer.Exit(1)
    fail(f"the authority refuses: {answer.error}: {answer.description}" + (f" (fix: {remedy})" if remedy else ""))
