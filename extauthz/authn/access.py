"""Who may use an endpoint of the HTTP API: a bearer token by a rule, or whoever may open the server's Unix socket.

1. exactly one Authorization header, with a bearer token (`extract`), verified like any other (`tokens`)
2. without a header: only where the settings let local callers in, and only through a Unix socket
3. everything else is refused; no settings, no endpoint
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from pydantic import model_validator

from extauthz.authn.extract import of_value
from extauthz.authn.settings import TokenRule  # noqa: TC001 - pydantic reads it at run time
from extauthz.model import Deny, Subject, deny
from extauthz.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.authn.bearer import BearerTokens

LOCAL: Final = Subject("service", "local", "socket")
"""Whoever may open the Unix socket: the file's permissions are the credential."""


class AccessSettings(Settings):
    """Who may use an endpoint."""

    token: TokenRule | None = None
    """What the caller's bearer token must satisfy; it must ask for a scope of its own."""
    local: bool = False
    """Callers without a token are let in by a Unix socket (`server.http: unix:///…`), by the file's permissions."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.token is None and not self.local:
            raise ValueError("nobody could use this: give it a `token` rule, or `local: true` with a Unix socket")
        if self.token is not None and not self.token.scopes:
            raise ValueError("token.scopes is empty: every token of the issuer would do; ask for a scope of its own")
        if self.token is not None and self.token.header != "authorization":
            raise ValueError("the HTTP API takes its tokens in the Authorization header: leave `header` out")
        if self.token is not None and self.token.binding != "if_present":
            raise ValueError("the HTTP listener sees no client certificate: `binding` can only be `if_present` here")
        return self


class Gate:
    """One endpoint's door. `settings` None keeps it shut."""

    __slots__ = ("_settings", "_tokens")

    def __init__(self, settings: AccessSettings | None, tokens: BearerTokens) -> None:
        self._settings = settings
        self._tokens = tokens

    async def admit(self, authorization: Sequence[str], *, unix: bool) -> Subject | Deny:
        """Who asks. `authorization`: the values of all Authorization headers; `unix`: came through a Unix socket."""
        settings = self._settings
        if settings is None:
            return deny("token.missing")
        if len(authorization) > 1:  # 1
            return deny("request.header_duplicated", "authorization")
        if not authorization:
            return LOCAL if settings.local and unix else deny("token.missing")  # 2
        if settings.token is None:
            return deny("token.issuer", "this endpoint takes no tokens")  # 3
        token = of_value(authorization[0])
        if isinstance(token, Deny):
            return token
        verified = await self._tokens.verify(token, settings.token, None)  # 1
        return verified if isinstance(verified, Deny) else verified.subject
