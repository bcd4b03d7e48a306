"""What an operator says about the token service. Empty means refuse."""

from __future__ import annotations

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extauthz.authn.claims import MAX_ACTORS
from extauthz.authn.settings import IssuerSettings
from extauthz.settings import Duration, Settings
from extauthz.sts.lattice import Lattice

RESERVED: Final = frozenset(
    {
        *("iss", "sub", "subject_type", "aud", "client_id", "iat", "nbf", "exp", "jti", "scope", "purpose"),
        *("act", "may_act", "ancestors", "cnf", "txn", "req_wl", "tctx", "rctx", "events"),
    }
)
"""Claims that we fill ourselves."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or url != f"{parts.scheme}://{parts.netloc}" or parts.username is not None:
        raise ValueError("the issuer is an origin: https://host[:port], without a path or a slash at its end")
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise ValueError("the issuer needs https (plain http only on loopback)")
    return url


Text = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$")]
"""Visible ASCII."""
Purpose = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")]
IssuerUrl = Annotated[str, Field(max_length=512), AfterValidator(_origin)]


class UserSettings(Settings):
    """A user who can be signed in for development, without any proof."""

    audiences: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Services that a token of this user may be for."""
    scopes: tuple[Scope, ...] = ()
    """Scopes that it may have."""
    purposes: tuple[Purpose, ...] = ()
    """Purposes that it may be for; the first is taken when the request names none."""
    acr: tuple[Text, ...] = ("pwd",)
    """Sign-ins that may be played, weakest first; the first is taken when the request names none."""
    claims: dict[Text, str | tuple[str, ...]] = Field(default_factory=dict)
    """What the user's tokens say beside: `tenant`, `roles`, `region`, `clearance`."""


class DevelopmentSettings(Settings):
    """The development sign-in: whoever can reach it gets a token for any user listed. Never in production."""

    users: Annotated[dict[Text, UserSettings], Field(min_length=1)]
    """Users by name."""
    lifetime: Duration = Field(default="10m", gt=0, le=3600)  # type: ignore[assignment]  # parsed by the unit
    """How long such a token lives at most."""
    from_anywhere: bool = False
    """Let callers sign in that are not on this machine. Without it only loopback and Unix sockets may."""


class SubjectIssuerSettings(IssuerSettings):
    """Another issuer whose tokens may be exchanged."""

    delegates: bool = False
    """Its tokens may say who acts for the subject (`act`); the chain is kept. Without it such a token is refused."""


class TransmitterSettings(IssuerSettings):
    """Who may push security events (RFC 8935), and about whose subjects."""

    types: tuple[str, ...] = ("secevent+jwt",)
    """A security event token says what it is (RFC 8417 section 2.3)."""
    subjects_of: tuple[Text, ...] = ()
    """Issuers whose subjects it may report on, beside its own."""
    max_age: Duration = Field(default="1d", gt=0, le=604800)  # type: ignore[assignment]  # parsed by the unit
    """Oldest event that is taken; event ids are remembered for as long."""


class StsSettings(Settings):
    """The security token service."""

    issuer: IssuerUrl
    """The `iss` of every token, and the origin of the endpoints in the metadata."""
    lifetime: Duration = Field(default="5m", gt=0, le=3600)  # type: ignore[assignment]  # parsed by the unit
    """How long an access token lives at most; never longer than the token it was exchanged for."""
    transaction_lifetime: Duration = Field(default="30s", gt=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """How long a transaction token lives at most."""
    max_depth: Annotated[int, Field(ge=1, le=MAX_ACTORS)] = MAX_ACTORS
    """Most workloads that one token may have gone through."""
    purposes: dict[Purpose, tuple[Purpose, ...]] = Field(default_factory=dict)
    """Purpose → the purposes that are directly narrower. An exchange may only go down; cycles are refused."""
    unstated_purposes: tuple[Purpose, ...] = ()
    """Purposes that may be named for a subject token that has none, and all below. Empty: it stays without one."""
    subject_issuers: tuple[SubjectIssuerSettings, ...] = ()
    """Other issuers whose tokens may be exchanged."""
    opaque_audiences: tuple[Text, ...] = ()
    """Services whose access tokens are opaque: they introspect."""
    carried: tuple[Text, ...] = ("tenant", "roles", "region", "clearance", "acr", "auth_time")
    """What is said of the subject that goes from token to token, where the subject's token says it."""
    policy: Annotated[str, Field(pattern=r"^[a-z0-9_/]+$")] = "extauthz/exchange/decision"
    """Entrypoint that is asked before anything is issued to a workload."""
    policy_timeout: Duration = Field(default="500ms", gt=0, le=10)  # type: ignore[assignment]  # parsed by the unit
    """Longest wait for its answer."""
    transmitters: tuple[TransmitterSettings, ...] = ()
    """Who may push security events. Empty: nobody."""
    development: DevelopmentSettings | None = None
    """Sign-in without proof, for development and demos. Absent: there is no such thing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        Lattice(self.purposes)
        for label, listed in (("subject_issuers", self.subject_issuers), ("transmitters", self.transmitters)):
            names = [entry.issuer for entry in listed]
            if len(set(names)) != len(names) or len({entry.name for entry in listed}) != len(names):
                raise ValueError(f"{label}: an issuer is listed twice")
        if reserved := RESERVED.intersection(self.carried):
            raise ValueError(f"carried: {sorted(reserved)} are filled by the service itself")
        if self.development and any(user.claims.keys() - set(self.carried) for user in self.development.users.values()):
            raise ValueError("development.users: a user has claims that `carried` does not list")
        if self.issuer in {entry.issuer for entry in self.subject_issuers}:
            raise ValueError("subject_issuers: our own issuer needs no entry")
        return self

    @property
    def longest(self) -> float:
        """Seconds after which every token is dead that could be exchanged or was issued before now, skew included."""
        issuers = [entry.max_lifetime + 2 * entry.leeway for entry in (*self.subject_issuers, *self.transmitters)]
        development = self.development.lifetime if self.development else 0.0
        return max(self.lifetime, self.transaction_lifetime, development, *issuers, 0.0) + 600.0
