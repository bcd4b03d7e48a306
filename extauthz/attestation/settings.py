"""Who may vouch for workloads, and how far. No attestor: nobody gets an identity."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.authn.settings import Algorithm, IssuerSettings, JwksSettings, TokenType
from extauthz.errors import OutboundError
from extauthz.outbound import OutboundSettings, origin
from extauthz.settings import Duration, Settings

AttestorName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ACCOUNT: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)/(\*|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)")
_ANY: Final = "*"


def _namespace(name: str) -> str:
    if name != _ANY and not _DNS_LABEL.fullmatch(name):
        raise ValueError("a namespace is expected, or `*` for all")
    return name


def _service_account(name: str) -> str:
    if not _ACCOUNT.fullmatch(name):
        raise ValueError("a service account is expected as namespace/name; the name may be *")
    return name


def _https(url: str) -> str:
    try:
        place = origin(url)
    except OutboundError as error:
        raise ValueError(str(error)) from None
    if not place.startswith("https://") and not re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])(:|$)", place):
        raise ValueError("https is expected")
    return url.rstrip("/")


def _claim_pattern(pattern: str) -> str:
    if any(part.count(_ANY) > 1 for part in re.split("[/:]", pattern)):
        raise ValueError("`*` may stand once between two of `/` and `:`")
    return pattern


Namespace = Annotated[str, AfterValidator(_namespace)]
ServiceAccount = Annotated[str, AfterValidator(_service_account)]
HttpsUrl = Annotated[str, Field(max_length=512), AfterValidator(_https)]
Audiences = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(min_length=1)]
SelectorClaim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Pattern = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_claim_pattern)]


def _discovery() -> JwksSettings:
    return JwksSettings(discovery=True)


class JoinTokenSettings(Settings):
    """One-time tokens that an operator hands out, for development and for machines that nothing else vouches for."""

    kind: Literal["join_token"]
    """This attestor."""
    name: AttestorName = "join_token"
    """The name that entries and agents use."""
    max_ttl: Duration = Field(default="10m", gt=0, le=86400)  # type: ignore[assignment]  # parsed by the unit
    """Longest life of a join token."""


class ReviewSettings(Settings):
    """Ask the cluster's API server about each token as well (TokenReview): a deleted pod's token is refused then."""

    url: HttpsUrl
    """URL of the API server."""
    token_file: Path
    """The authority's own service-account token; read again for every question. It needs `system:auth-delegator`."""
    trust_bundle: Path | None = None
    """PEM file with the authorities that vouch for the API server, instead of the public ones."""
    timeout: Duration = Field(default="2s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one question."""


class KubernetesSettings(Settings):
    """Projected service-account tokens of one cluster."""

    kind: Literal["kubernetes"]
    """This attestor."""
    name: AttestorName = "kubernetes"
    """The name that entries and agents use; one for each cluster."""
    cluster: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
    """What the selector `k8s:cluster:` says."""
    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """The cluster's service-account issuer, exactly as its tokens name it."""
    jwks: JwksSettings = Field(default_factory=_discovery)
    """The cluster's keys. Without it they are found by OIDC discovery at the issuer."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256",)
    """Signature algorithms that the cluster uses."""
    audiences: Audiences
    """A token must be for one of these; name an audience that only the authority has."""
    namespaces: Annotated[tuple[Namespace, ...], Field(min_length=1)]
    """Namespaces whose workloads are let in; `*`: all of them."""
    service_accounts: tuple[ServiceAccount, ...] = ()
    """Service accounts that are let in, as namespace/name; `*` as a name covers a namespace. Empty: all of them."""
    require_pod: bool = True
    """Refuse tokens that are not bound to a pod, such as those of `kubectl create token`."""
    max_age: Duration = Field(default="1h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest time since the token was issued."""
    max_lifetime: Duration = Field(default="2h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest life that a token may have been given."""
    leeway: Duration = Field(default="30s", ge=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """Clock skew that is forgiven."""
    once: bool = True
    """A token serves once: a copy is worth nothing after its pod has attested."""
    outbound: OutboundSettings = OutboundSettings()
    """Whom to trust when the keys are fetched."""
    review: ReviewSettings | None = None
    """Ask the API server as well."""

    @property
    def token_issuer(self) -> IssuerSettings:
        """The cluster as an issuer of tokens. Raises ValueError."""
        return _issuer(self, ("jwt", "absent"), {"kubernetes": "kubernetes.io"})

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.token_issuer  # noqa: B018 - raises where issuer and keys do not fit
        return self


class InstanceSettings(Settings):
    """Signed instance identity documents of a cloud, in the form that AWS gives them."""

    kind: Literal["instance"]
    """This attestor."""
    name: AttestorName = "instance"
    """The name that entries and agents use."""
    certificates: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")], Path], Field(min_length=1)]
    """Region → PEM file with the certificate that signs its documents. Other regions are refused."""
    accounts: Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9]{12}$")], ...], Field(min_length=1)]
    """Accounts whose instances are let in."""
    max_age: Duration = Field(default="10m", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest time since the instance was started (`pendingTime`)."""
    leeway: Duration = Field(default="30s", ge=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """Clock skew that is forgiven."""
    once: bool = True
    """An instance attests once for each time that it is started."""


class OidcSettings(Settings):
    """Workloads that another OpenID provider vouches for, such as jobs of a build service."""

    kind: Literal["oidc"]
    """This attestor."""
    name: AttestorName = "oidc"
    """The name that entries and agents use; one for each provider."""
    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """The provider, exactly as its tokens name it."""
    jwks: JwksSettings = Field(default_factory=_discovery)
    """The provider's keys. Without it they are found by OIDC discovery."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256",)
    """Signature algorithms that the provider uses."""
    types: Annotated[tuple[TokenType, ...], Field(min_length=1)] = ("jwt", "absent")
    """Values of the `typ` header that are accepted."""
    audiences: Audiences
    """A token must be for one of these; name an audience that only the authority has."""
    require: Annotated[dict[SelectorClaim, Annotated[tuple[Pattern, ...], Field(min_length=1)]], Field(min_length=1)]
    """Claim → patterns, one of which must fit; `*` stands for one or more characters other than `/` and `:`."""
    selectors: tuple[SelectorClaim, ...] = ()
    """Further claims that become selectors, beside `iss`, `sub` and those of `require`."""
    max_age: Duration = Field(default="10m", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest time since the token was issued."""
    max_lifetime: Duration = Field(default="1h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest life that a token may have been given."""
    leeway: Duration = Field(default="30s", ge=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """Clock skew that is forgiven."""
    once: bool = True
    """A token serves once."""
    outbound: OutboundSettings = OutboundSettings()
    """Whom to trust when the keys are fetched."""

    @property
    def token_issuer(self) -> IssuerSettings:
        """The provider as an issuer of tokens. Raises ValueError."""
        return _issuer(self, self.types, {f"claim.{name}": name for name in (*self.require, *self.selectors)})

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.token_issuer  # noqa: B018 - raises where issuer and keys do not fit
        return self


def _issuer(
    settings: KubernetesSettings | OidcSettings, types: tuple[str, ...], claims: dict[str, str]
) -> IssuerSettings:
    issuer = IssuerSettings(
        name=settings.name,
        issuer=settings.issuer,
        algorithms=settings.algorithms,
        jwks=settings.jwks,
        types=types,
        required_claims=("iat",),
        claims={**claims, "iat": "iat"},
        subject_type="workload",
    )
    # Durations are written as text and held in seconds: what is held already is copied.
    return issuer.model_copy(update={"leeway": settings.leeway, "max_lifetime": settings.max_lifetime})


AttestorSettings = Annotated[
    JoinTokenSettings | KubernetesSettings | InstanceSettings | OidcSettings, Field(discriminator="kind")
]


class AttestationSettings(Settings):
    """Who may vouch for workloads."""

    attestors: tuple[AttestorSettings, ...] = ()
    """Attestors. Without one nothing is ever issued."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [attestor.name for attestor in self.attestors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two attestors are called {', '.join(twice)}: give each a `name`")
        return self
