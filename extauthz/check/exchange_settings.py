"""What an operator says about tokens that are exchanged in line: where, and for what on each route."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from extauthz.settings import Duration, Settings

Audience = Annotated[str, Field(pattern=r"^[!-~]{1,512}$")]
Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")]
Purpose = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Kind = Literal["access_token", "transaction_token"]


class TokenServiceSettings(Settings):
    """The token service (STS) that exchanges tokens; we prove ourselves there by `identity`."""

    url: str
    """The token endpoint of the authority of our own trust domain: `https://authority.example/token`."""
    timeout: Duration = Field(default="300ms", gt=0, le=10)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one exchange. Below Envoy's ext_authz timeout, or a slow service becomes a late answer."""
    margin: Duration = Field(default="5s", ge=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """How long before its end a token is not handed out any more: the request still has to arrive with it."""
    cache_entries: Annotated[int, Field(ge=16, le=1_000_000)] = 20_000
    """Exchanged tokens that are kept."""
    refused_ttl: Duration = Field(default="2s", ge=0, le=60)  # type: ignore[assignment]  # parsed by the unit
    """For how long a refusal is remembered."""
    max_calls: Annotated[int, Field(ge=1, le=1024)] = 64
    """Exchanges that may be under way at once; beyond that requests are refused instead of queued."""

    @model_validator(mode="after")
    def _secure(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("an https URL with a host, without credentials, query and fragment is expected")
        return self


class ExchangeSettings(Settings):
    """The token that the upstream gets in place of the one that came. A policy may only narrow it."""

    audience: Audience
    """Who the new token is for, as the authority knows the upstream service."""
    audiences: tuple[Audience, ...] = ()
    """Other audiences that the policy's obligation may choose."""
    scopes: tuple[Scope, ...] = ()
    """Scopes to ask for, and the most that a policy may. Empty: those of the token that came, as far as granted."""
    purpose: Purpose | Literal[""] = ""
    """Purpose to ask for; the authority lets it only narrow. Empty: it stays as it is."""
    purposes: tuple[Purpose, ...] = ()
    """Other purposes that the policy's obligation may choose."""
    lifetime: Duration | None = Field(default=None, ge=1, le=3600)
    """Longest life to ask for. Never longer than the rest of the life of the token that came."""
    kind: Kind = "access_token"
    """`access_token` replaces the Authorization header; `transaction_token` goes into Txn-Token, and Authorization is
    removed."""
