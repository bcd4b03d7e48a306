"""Settings of the `authority` block: one trust domain's issuer."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Self

from pydantic import Field, model_validator

from extauthz.attestation.entries import DnsName, EntrySettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.attestation.settings import AttestationSettings
from extauthz.authn.settings import TrustDomainName  # noqa: TC001 - pydantic reads it at run time
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.keys.settings import KeysSettings
from extauthz.settings import Duration, Settings
from extauthz.sts.settings import StsSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.transport.settings import Address, unix_path


class ListenerSettings(Settings):
    """What the authority's callers may take of it."""

    connections: int = Field(default=1024, ge=8, le=65536)
    """Connections at once; requests beyond are answered 503."""
    longest_poll: Duration = Field(default="55s", gt=0, le=60)  # type: ignore[assignment]  # parsed by the unit
    """The longest that a poll for trust or revocations is held open."""
    polls: int = Field(default=4096, ge=1, le=65536)
    """Polls that are held open at once."""
    polls_per_workload: int = Field(default=16, ge=1, le=1024)
    """The same for one SPIFFE ID, whose replicas all poll."""


class AuthoritySettings(Settings):
    """The issuer of one trust domain: certificate authority, attestation, token service, revocations."""

    trust_domain: TrustDomainName
    """The trust domain that it issues for."""
    listen: Address = "127.0.0.1:8443"
    """Where it serves HTTPS: `host:port`. Its certificate is an SVID of its own."""
    admin: Address = "unix:///run/extauthz/authority.sock"
    """Unix socket of the operator's verbs (mode 0600): whoever may open it is the operator."""
    dns_names: Annotated[tuple[DnsName, ...], Field(min_length=1)] = ("localhost",)
    """DNS names in its server certificate: those that agents call it by."""
    publish: Path | None = None
    """File (PEM) that always holds the trust domain's certificate authorities, for agents that start: mode 0644."""
    keys: KeysSettings = KeysSettings()
    """Where private keys live."""
    ca: CaSettings = CaSettings()
    """The certificate authority."""
    signing: SigningSettings = SigningSettings()
    """The keys that sign tokens."""
    attestation: AttestationSettings = AttestationSettings()
    """Who may vouch for workloads."""
    entries: tuple[EntrySettings, ...] = ()
    """Registration entries: which attested workload is who. Empty: nobody is anybody."""
    sts: StsSettings
    """The token service."""
    revocations_kept: Duration = Field(default="7d", gt=0, le=31536000)  # type: ignore[assignment]  # parsed by the unit
    """How long a revoked workload stays revoked when nobody says otherwise; tokens as long as any of them lives."""
    listener: ListenerSettings = ListenerSettings()
    """Bounds for callers."""
    unsafe_development: bool = False
    """Let `sts.development` users sign in although `environment` is not dev, test, demo or local."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if unix_path(self.listen):
            raise ValueError("listen is host:port: callers prove themselves by mTLS")
        if not unix_path(self.admin):
            raise ValueError("admin is a Unix socket, unix:///path: its file mode is the credential")
        return self

    @property
    def own_id(self) -> str:
        """The authority's own SPIFFE ID, which no entry may give out."""
        return f"spiffe://{self.trust_domain}/authority"
