"""Settings of the `agent` block: one workload's identity on this machine."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.authn.settings import TrustDomainName  # noqa: TC001 - pydantic reads it at run time
from extauthz.errors import OutboundError
from extauthz.outbound import origin
from extauthz.sds.names import NAMES, OWN_TRUST, SCHEME
from extauthz.settings import Duration, Settings
from extauthz.transport.settings import Address, unix_path


def _https(value: str) -> str:
    try:
        place = origin(value)
    except OutboundError as error:
        raise ValueError(str(error)) from None
    if not place.startswith("https://"):
        raise ValueError("an https URL is expected: evidence and tokens travel on it")
    if value.rstrip("/").lower() != place:
        raise ValueError("scheme, host and port are expected, without a path")
    return place


def _http(value: str) -> str:
    try:
        origin(value)
    except OutboundError as error:
        raise ValueError(str(error)) from None
    return value


HttpUrl = Annotated[str, AfterValidator(_http)]
AttestorName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class _Evidence(Settings):
    attestor: AttestorName | None = None
    """The attestor's name in the authority's configuration, where it is not the kind itself."""


class JoinToken(_Evidence):
    """A secret that an operator handed out; good for one attestation. For development."""

    kind: Literal["join_token"]
    """This kind of evidence."""
    token_file: Path | None = None
    """File with the token, read at each attestation."""
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable with the token. The process list shows it to its own user and root: prefer a file."""
    stdin: bool = False
    """The token is the first line of standard input."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token_file is not None) + (self.token_env is not None) + self.stdin != 1:
            raise ValueError("give exactly one of token_file, token_env and stdin")
        return self


class Kubernetes(_Evidence):
    """A projected service-account token, made for the authority's audience."""

    kind: Literal["kubernetes"]
    """This kind of evidence."""
    token_file: Path
    """Where the kubelet keeps the token fresh; read at each attestation."""


class Instance(_Evidence):
    """A cloud's signed instance identity document."""

    kind: Literal["instance"]
    """This kind of evidence."""
    document_file: Path | None = None
    """File with the evidence as the authority takes it."""
    url: HttpUrl | None = None
    """The metadata service (IMDSv2), for example http://169.254.169.254: document and signature are fetched there."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.document_file is None) == (self.url is None):
            raise ValueError("give one of document_file and url")
        return self


class Oidc(_Evidence):
    """An ID token of another OpenID provider, such as a build service's."""

    kind: Literal["oidc"]
    """This kind of evidence."""
    token_file: Path | None = None
    """File with the token, read at each attestation."""
    url: HttpUrl | None = None
    """Where a token is fetched at each attestation; the answer is the token, or JSON with it in `value`."""
    bearer_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable with the bearer token that `url` asks for."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token_file is None) == (self.url is None):
            raise ValueError("give one of token_file and url")
        if self.bearer_env is not None and self.url is None:
            raise ValueError("bearer_env goes with url")
        return self


AttestationKind = Annotated[JoinToken | Kubernetes | Instance | Oidc, Field(discriminator="kind")]


class AgentSettings(Settings):
    """One workload's identity: attested, renewed and served on a Unix socket (SDS, SPIFFE Workload API)."""

    authority: Annotated[str, AfterValidator(_https)]
    """The authority: https://host:port."""
    trust_domain: TrustDomainName | None = None
    """The trust domain that the authority must be of. Without it: any that the bootstrap bundle vouches for."""
    trust_bundle: Path
    """PEM file with the certificate authorities that vouch for the authority at the start, or since it was replaced."""
    attestation: AttestationKind
    """What proves who this workload is."""
    socket: Address = "unix:///run/extauthz/agent.sock"
    """Unix socket for SDS, the Workload API and gRPC health. Whoever may open it is the workload."""
    socket_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "0600"
    """File mode of the socket, octal; nobody but the workload (and its Envoy) may have rights."""
    renew_at: float = Field(default=0.5, ge=0.1, le=0.8)
    """The share of its life after which the certificate is renewed, ± 10 %."""
    alarm_at: float = Field(default=0.25, ge=0.05, le=0.5)
    """The share of its life that is left when a failing renewal becomes an alarm."""
    timeout: Duration = Field(default="5s", gt=0, le=60)  # type: ignore[assignment]  # parsed by the unit's validator
    """The longest that one call to the authority may take; the poll for trust waits longer."""
    poll: Duration = Field(default="30s", ge=1, le=50)  # type: ignore[assignment]  # the same
    """How long the authority is asked to hold a poll for trust open."""
    aliases: dict[Annotated[str, Field(min_length=1, max_length=256)], str] = Field(default_factory=dict)
    """Further SDS names → a name that is served: `default`, `ROOTCA`, `ALL`, `spiffe://…`. `ROOTCA: ALL` federates."""
    http: Address | None = None
    """Where /healthz, /readyz and /metrics are served; nowhere unless configured."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not unix_path(self.socket):
            raise ValueError("socket is unix:///path: its file mode is the credential")
        for alias, name in self.aliases.items():
            if alias in NAMES - {OWN_TRUST} or alias.startswith(SCHEME):
                raise ValueError(f"aliases: {alias} has its own meaning")
            if name not in NAMES and not name.startswith(SCHEME):
                raise ValueError(f"aliases: {name} is not a name that is served")
        return self

    @property
    def attestor(self) -> str:
        return self.attestation.attestor or self.attestation.kind
