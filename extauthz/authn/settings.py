"""What an operator says about workloads, issuers and tokens. Empty means refuse, here as everywhere."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extauthz.settings import Duration, Settings
from extauthz.store.settings import RedisSettings  # noqa: TC001 - pydantic reads the annotation

SPIFFE_NAME: Final = re.compile(r"[a-z0-9._-]{1,255}")
"""A trust domain name (SPIFFE-ID section 2.1)."""
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
_TEMPLATE: Final = re.compile(rf"(?:/(?:{_SEGMENT}|\{{(?:environment|namespace|service|tenant)\}}))+")
_PATTERN: Final = re.compile(rf"spiffe://[a-z0-9._-]{{1,255}}(?:/(?:{_SEGMENT}|\*))+")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_FORMAT: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,64}")

Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
"""Signatures that we verify: asymmetric only, so that no public key can serve as a secret (RFC 8725 section 3.1)."""


def _trust_domain(name: str) -> str:
    if not SPIFFE_NAME.fullmatch(name):
        raise ValueError("a trust domain holds only a-z, 0-9, '.', '_' and '-'")
    return name


def _template(template: str) -> str:
    if not _TEMPLATE.fullmatch(template):
        raise ValueError(
            "a path template is made of plain segments and {environment}, {namespace}, {service}, {tenant}"
        )
    names = re.findall(r"\{(\w+)\}", template)
    if len(names) != len(set(names)):
        raise ValueError("a path template names each part once")
    return template


def _pattern(pattern: str) -> str:
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("a SPIFFE ID is expected, in which '*' may stand for one whole path segment")
    return pattern


def _media_type(name: str) -> str:
    return name.lower().removeprefix("application/")


TrustDomainName = Annotated[str, AfterValidator(_trust_domain)]
PathTemplate = Annotated[str, AfterValidator(_template)]
WorkloadPattern = Annotated[str, AfterValidator(_pattern)]
TokenType = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_media_type)]
ClaimName = Annotated[str, Field(min_length=1, max_length=128)]


class IdentitySettings(Settings):
    """The server's own X.509-SVID and trust: from a SPIFFE Workload API, or from files that are read again."""

    socket: Annotated[str, Field(pattern=r"^unix://(/[^/\x00]+)+$")] | None = None
    """A SPIFFE Workload API: `unix:///run/extauthz/agent.sock`, or SPIRE's socket."""
    certificate: Path | None = None
    """PEM file: our certificate, then its intermediates."""
    private_key: Path | None = None
    """PEM file: its private key, unencrypted."""
    trust_bundle: Path | None = None
    """PEM file: the CA certificates of our own trust domain."""
    wait: Duration = Field(default="5s", ge=0, le=60)  # type: ignore[assignment]  # parsed by the unit
    """How long a start or a reload waits for the identity; after that the server runs and is not ready."""
    overlap: Duration = Field(default="25m", ge=0, le=86400)  # type: ignore[assignment]  # parsed by the unit
    """How long after a renewal our own calls still show the former certificate, while it is good. Longer than Envoy
    keeps a connection open: the tokens that we exchange must fit the certificate that Envoy shows to the upstream."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        files = (self.certificate, self.private_key, self.trust_bundle)
        if any(file is not None for file in files) == (self.socket is not None) or (any(files) and not all(files)):
            raise ValueError("either `socket`, or all of `certificate`, `private_key` and `trust_bundle`")
        return self


class TrustDomainSettings(Settings):
    """One trust domain whose workloads may call."""

    trust_bundle: Literal["identity"] | Path | None = None
    """PEM file with the domain's CA certificates, read again when it changes; or `identity`: the bundle that comes with
    the server's own identity. Without it Envoy's check is relied on, and no renewed certificate stands for another."""
    environment: str = ""
    """Environment of every workload of this domain, for path templates that do not name one."""


class WorkloadSettings(Settings):
    """Which calling workloads are known. Without a trust domain every workload is refused."""

    trust_domains: dict[TrustDomainName, TrustDomainSettings] = Field(default_factory=dict)
    """Trusted domains by name. The trust bundle is chosen by the caller's trust domain alone."""
    id_templates: tuple[PathTemplate, ...] = ("/env/{environment}/ns/{namespace}/sa/{service}",)
    """Path templates of SPIFFE IDs; the first that fits gives the parts. An ID that fits none is unregistered."""
    environments: tuple[str, ...] = ()
    """Environments that may call. Empty: only the server's own; "*": every one, also workloads that name none."""
    registered: tuple[WorkloadPattern, ...] | None = None
    """SPIFFE IDs (with '*' for one segment) that are registered. Absent: every ID that fits a template; empty: none."""
    xfcc: Literal["ignore", "last"] = "ignore"
    """"last" cross-checks the last element of x-forwarded-client-cert with the peer; needs SANITIZE_SET in Envoy."""
    require_certificate: bool = True
    """Refuse a peer whose certificate Envoy did not send: without it neither expiry nor binding can be checked."""
    require_svid_profile: bool = True
    """Refuse a peer certificate that breaks the X.509-SVID profile (key usage, extended key usage, CA flag)."""
    cache_entries: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    """Peer certificates whose parsed facts are kept."""


class JwksSettings(Settings):
    """Where an issuer's keys come from: exactly one of `file`, `url` and `discovery`."""

    file: Path | None = None
    """A JWKS file; read again when it changes."""
    url: str | None = None
    """The URL of the JWKS."""
    discovery: bool = False
    """Ask `<issuer>/.well-known/openid-configuration` for the URL."""
    origins: tuple[str, ...] = ()
    """Further origins that a discovered JWKS URL may have; the issuer's own is always allowed."""
    client: Literal["none", "mtls"] = "none"
    """`mtls`: the issuer is our own authority, known by its SPIFFE ID and asked with the server's own `identity`."""
    unsafe_http: bool = False
    """Allow plain http to other hosts than loopback. Whoever can change that traffic can issue tokens."""
    cooldown: Duration = Field(default="30s", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Shortest time between two fetches, whatever their outcome and however many unknown key ids come in."""
    refresh: Duration = Field(default="5m", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """How often keys are fetched in the background. A file is looked at every 2s, whatever stands here."""
    stale_if_error: Duration = Field(default="1h", ge=0, le=86400)  # type: ignore[assignment]  # parsed by the unit
    """For how long after a due refresh known keys still serve when the issuer cannot be reached."""
    timeout: Duration = Field(default="2s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one fetch."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.file is not None, self.url is not None, self.discovery].count(True) != 1:
            raise ValueError("exactly one of file, url and discovery is needed")
        if self.url is not None:
            _check_url(self.url, unsafe_http=self.unsafe_http)
        for extra in self.origins:
            _check_url(extra, unsafe_http=self.unsafe_http)
        if self.client == "mtls" and (self.url is None or not self.url.startswith("https:")):
            raise ValueError("`client: mtls` needs an https `url`")
        return self


def _check_url(url: str, *, unsafe_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError(f"{url!r} is not an http(s) URL with a host and no credentials")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not unsafe_http:
        raise ValueError(f"{url!r} is plain http: use https, or set unsafe_http")


class ClientSecretSettings(Settings):
    """How we prove to an issuer who asks: `client_secret_basic` (RFC 6749 section 2.3.1). Exactly one secret source."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    """Our client id at the issuer."""
    secret_file: Path | None = None
    """File with the client secret; line ends around it do not count. A changed file loads the configuration again."""
    secret_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    """Environment variable with the client secret."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.secret_file is None) == (self.secret_env is None):
            raise ValueError("exactly one of secret_file and secret_env is needed")
        return self


class IntrospectionSettings(Settings):
    """Asking the issuer about a token (RFC 7662), for routes whose rule says `introspect`."""

    url: str
    """The introspection endpoint."""
    client: Literal["mtls"] | ClientSecretSettings
    """How we authenticate there: `mtls` shows this server's own certificate, otherwise a client id and its secret."""
    cache_ttl: Duration = Field(default="5s", ge=0, le=10)  # type: ignore[assignment]  # parsed by the unit
    """How long "active" is believed; so late does a revocation at the issuer arrive. 0: asked each time."""
    negative_ttl: Duration = Field(default="2s", ge=0, le=10)  # type: ignore[assignment]  # parsed by the unit
    """How long "not active" is believed; not longer than `cache_ttl`, unless that is 0."""
    timeout: Duration = Field(default="500ms", gt=0, le=10)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one question, waiting for a free connection included."""
    max_concurrent: Annotated[int, Field(ge=1, le=256)] = 32
    """Questions at the same time. Eight times as many may wait for their turn; what comes then is refused."""
    cache_entries: Annotated[int, Field(ge=16, le=1_000_000)] = 10_000
    """Active tokens that are remembered."""
    refused_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    """Inactive tokens that are remembered, apart from the active ones."""
    prefix: Annotated[str, Field(max_length=64)] = ""
    """What every opaque token of this issuer begins with, for example `xat_`; others are refused without a question."""
    types: Annotated[tuple[TokenType, ...], Field(min_length=1)] = ("bearer",)
    """Values of `token_type` that are accepted; "absent" accepts answers without one (many issuers answer for
    refresh tokens, too, and then without a type)."""
    required_claims: tuple[ClaimName, ...] = ()
    """Members that an answer must have beside `active`, `exp`, `aud` and `sub`, which an active one always must."""
    missing_audience: Literal["refuse", "accept"] = "refuse"
    """`accept`: an opaque token whose answer names no audience is good for every route that takes this issuer."""
    clients: bool = False
    """An answer without `sub` speaks for its `client_id`, as a subject of type service. False: it is refused."""
    unsafe_http: bool = False
    """Allow plain http to other hosts than loopback. Whoever reads that traffic has the tokens."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_url(self.url, unsafe_http=self.unsafe_http)
        if self.client == "mtls" and urlsplit(self.url).scheme != "https":
            raise ValueError("`client: mtls` needs an https URL")
        if self.cache_ttl and self.negative_ttl > self.cache_ttl:
            raise ValueError("negative_ttl is longer than cache_ttl: write at most as much")
        if self.prefix and not _FORMAT.fullmatch(self.prefix):
            raise ValueError("prefix holds characters that no bearer token has")
        return self


class IssuerSettings(Settings):
    """One token issuer that we trust, and how far."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    """Short name that routes and metrics use."""
    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """The exact `iss`; compared byte for byte."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    """Signature algorithms that this issuer may use, each named."""
    jwks: JwksSettings
    """The issuer's keys."""
    types: Annotated[tuple[TokenType, ...], Field(min_length=1)] = ("at+jwt",)
    """Values of the `typ` header that are accepted; "absent" accepts tokens without one."""
    leeway: Duration = Field(default="30s", ge=0, le=300)  # type: ignore[assignment]  # parsed by the unit
    """Clock skew forgiven on exp, nbf and iat."""
    max_lifetime: Duration = Field(default="1h", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """Longest exp - iat that this issuer may grant."""
    required_claims: tuple[ClaimName, ...] = ("iat", "jti")
    """Claims that must be there beside iss, exp, aud and sub, which always must."""
    claims: dict[str, ClaimName] = Field(default_factory=lambda: {"roles": "roles", "tenant": "tenant"})
    """Subject property → claim that fills it. A dotted name is a path, unless a claim has that very name."""
    scope_claim: ClaimName = "scope"
    """Claim with the scopes: a space-separated string (RFC 8693) or an array of strings."""
    purpose_claim: ClaimName = "purpose"
    """Claim with the purpose that the token was issued for."""
    subject_type: Literal["user", "service", "workload"] = "user"
    """What this issuer's subjects are."""
    subject_type_claim: ClaimName | None = None
    """Claim that says it per token; its value must be user, service or workload."""
    introspection: IntrospectionSettings | None = None
    """Where the issuer answers questions about its tokens; needed for routes with `introspect`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.jwks.discovery:
            _check_url(self.issuer, unsafe_http=self.jwks.unsafe_http)
        if reserved := {"issuer", "scopes", "purpose"} & self.claims.keys():
            raise ValueError(f"{sorted(reserved)} are filled by extauthz itself")
        return self

    @property
    def discovery_url(self) -> str:
        """OpenID Connect Discovery 1.0 section 4: the well-known path is appended to the issuer."""
        return self.issuer.rstrip("/") + "/.well-known/openid-configuration"

    @property
    def outbound_urls(self) -> tuple[str, ...]:
        """Every URL whose origin this issuer's keys may be fetched from; `Outbound` is built with them."""
        if self.jwks.url is not None:
            return () if self.jwks.client == "mtls" else (self.jwks.url,)
        return (self.discovery_url, *self.jwks.origins) if self.jwks.discovery else ()

    @property
    def introspection_urls(self) -> tuple[str, ...]:
        """The endpoint that is asked with a client secret, through the same `Outbound`; with mTLS it has its own."""
        asked = self.introspection
        return () if asked is None or asked.client == "mtls" else (asked.url,)


def _acr(value: str) -> str:
    if not re.fullmatch(r"[!#-\[\]-~]{1,256}", value):
        raise ValueError("an acr value has no spaces, quotes or backslashes: they separate values in the challenge")
    return value


class TokenRule(Settings):
    """What a route asks of a token."""

    issuers: tuple[str, ...] = ()
    """Names of the issuers that are accepted here. Empty refuses every token."""
    audiences: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """The token must be for at least one of these."""
    header: Literal["authorization", "txn-token"] = "authorization"
    """Where the token comes: `Authorization: Bearer`, or `Txn-Token` (name its type in `types`: `txntoken+jwt`)."""
    types: tuple[TokenType, ...] = ()
    """Accepted `typ` values in place of the issuer's own. Empty keeps the issuer's."""
    purposes: tuple[str, ...] = ()
    """The token's purpose must be one of these. Empty asks for none."""
    scopes: tuple[str, ...] = ()
    """Scopes that the token must all have."""
    binding: Literal["required", "if_present", "received"] = "if_present"
    """A token with `cnf` must match the peer certificate in both cases; "required" refuses a token without `cnf`.
    "received", only with `caller: self`: our service calls on with a token that another workload holds."""
    introspect: Literal["never", "opaque", "always"] = "never"
    """`opaque`: tokens that are not JWTs are accepted, by asking their issuer; `always`: JWTs are asked about, too."""
    acr: tuple[Annotated[str, AfterValidator(_acr)], ...] = ()
    """The sign-in must have been of one of these strengths (`acr`); otherwise the caller is told to step up."""
    max_age: Duration | None = Field(default=None, ge=1)
    """The sign-in (`auth_time`) must not be longer ago, beside the issuer's leeway; otherwise step up (RFC 9470)."""

    @model_validator(mode="after")
    def _whole_seconds(self) -> Self:
        if self.max_age is not None and self.max_age != int(self.max_age):
            raise ValueError("max_age is told to the caller in whole seconds: write a whole number of them")
        return self

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes that tell this rule from every other; part of the token cache's key."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()[:16]


class RevocationFeedSettings(Settings):
    """Revocations from the authority, by long polling."""

    url: Annotated[str, Field(max_length=2048)]
    """The authority's `/v1/revocations`."""
    timeout: Duration = Field(default="5s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one answer, beyond the time that the authority was asked to wait for news."""
    unsafe_http: bool = False
    """Allow plain http to other hosts than loopback. Whoever can change that traffic can hide revocations."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_url(self.url, unsafe_http=self.unsafe_http)
        if urlsplit(self.url).query:
            raise ValueError("the url has no query: it is added")
        return self


class RevocationSettings(Settings):
    """What has been revoked before its time: from a file, and from at most one of `feed` and `redis`."""

    file: Path | None = None
    """A JSON or YAML file with the lists `jti`, `sub`, `kid`, `workload` and `token`; read again when it changes."""
    interval: Duration = Field(default="2s", gt=0)  # type: ignore[assignment]  # parsed by the unit
    """How often the file is looked at."""
    feed: RevocationFeedSettings | None = None
    """The authority that tells of revocations."""
    redis: RedisSettings | None = None
    """The authority's own store, where it is a Redis: read directly, and told by it within a second."""
    snapshot: Path | None = None
    """A file that keeps what `feed` or `redis` told, for the next start; private to the server, and made by it."""
    max_age: Duration = Field(default="60s", gt=0, le=3600)  # type: ignore[assignment]  # parsed by the unit
    """When nothing was heard for longer, or the file has been broken for longer, routes with effects deny."""
    max_entries: Annotated[int, Field(ge=100, le=1_000_000)] = 100_000
    """Entries that are kept of `feed` or `redis`. With more in force, routes with effects deny."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.feed is not None and self.redis is not None:
            raise ValueError("feed and redis exclude each other")
        if self.snapshot is not None and not self.remote:
            raise ValueError("a snapshot is of a feed or a redis: there is neither")
        if self.file is not None and self.interval >= self.max_age:
            raise ValueError("interval must be less than max_age")
        return self

    @property
    def remote(self) -> bool:
        """Whether revocations come from elsewhere than the file."""
        return self.feed is not None or self.redis is not None

    @property
    def outbound_urls(self) -> tuple[str, ...]:
        """What `Outbound` must be allowed to call."""
        return () if self.feed is None else (self.feed.url,)


class VerifierSettings(Settings):
    """Limits of the verified-token cache."""

    cache_entries: Annotated[int, Field(ge=16, le=10_000_000)] = 50_000
    """Verified tokens that are kept; a hit checks time, binding and revocation again."""
    refused_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    """Tokens with a wrong form or signature that are remembered, apart from the good ones."""
    refused_ttl: Duration = Field(default="5s", ge=0, le=60)  # type: ignore[assignment]  # parsed by the unit
    """For how long."""
    offload: bool = False
    """Verify signatures in a thread. Helps only where a core is idle; see docs/adr/0003-token-verification.md."""
