"""The whole configuration: the settings of every package, composed into one file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from extauthz.agent.settings import AgentSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.api.settings import ApiSettings
from extauthz.attributes.settings import AttributesSettings
from extauthz.audit.settings import AuditSettings
from extauthz.authn.api_key_settings import ApiKeySettings
from extauthz.authn.break_glass_settings import BreakGlassSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.authn.settings import (
    IdentitySettings,
    IssuerSettings,
    RevocationSettings,
    VerifierSettings,
    WorkloadSettings,
)
from extauthz.authority.settings import AuthoritySettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.check.exchange_settings import TokenServiceSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.check.routes import RouteSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.judgement.settings import JudgementSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.outbound import OutboundSettings
from extauthz.policy.settings import PolicySettings
from extauthz.settings import Settings
from extauthz.store.settings import StoreSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.telemetry.settings import TelemetrySettings
from extauthz.transport.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a configuration came from. `digest` is SHA-256 over the file's bytes, hex."""

    file: str = ""
    digest: str = ""


class Config(Settings):
    """One server's configuration. An empty one is valid, and denies everything."""

    version: Literal[1] = 1
    """Version of this file format."""
    environment: Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)?$")] = ""
    """Environment that this server protects, for example `prod`; policies read it, and workloads must belong to it."""
    server: ServerSettings = ServerSettings()
    """Where the server listens, and its limits."""
    identity: IdentitySettings | None = None
    """The server's own identity: shown to the authority, and the caller of routes with `caller: self`."""
    sts: TokenServiceSettings | None = None
    """The token service that routes with `exchange` ask."""
    workload: WorkloadSettings = WorkloadSettings()
    """Which calling workloads are known."""
    issuers: tuple[IssuerSettings, ...] = ()
    """Token issuers that routes may name."""
    outbound: OutboundSettings = OutboundSettings()
    """Whom the server trusts when it calls others itself."""
    revocation: RevocationSettings = RevocationSettings()
    """What has been revoked before its time."""
    api_keys: ApiKeySettings = ApiKeySettings()
    """API keys, for routes with `credential: api_key`."""
    break_glass: BreakGlassSettings | None = None
    """Signed grants that override a refusal on routes with `break_glass: true`."""
    verifier: VerifierSettings = VerifierSettings()
    """Limits of the verified-token cache."""
    attributes: AttributesSettings = AttributesSettings()
    """Attribute sources that routes may name."""
    policy: PolicySettings = PolicySettings()
    """The policy, and the engine that evaluates it."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Decision records, metrics and the process log."""
    audit: AuditSettings = AuditSettings()
    """The audit trail: every decision, issuance and change, in files that show when somebody touched them."""
    routes: tuple[RouteSettings, ...] = ()
    """Route policies. A request that no route covers is refused."""
    judgement: JudgementSettings | None = None
    """Where requests of routes with `evaluation: async` wait, and how they are judged."""
    api: ApiSettings = ApiSettings()
    """The HTTP API on `server.http`, for other callers than Envoy; off unless configured."""
    store: StoreSettings | None = None
    """State of the authority that outlives a process or is shared by replicas; in memory when it is absent."""
    authority: AuthoritySettings | None = None
    """The issuer of a trust domain, for `extauthz authority serve`; no other verb reads it."""
    agent: AgentSettings | None = None
    """One workload's identity, for `extauthz agent`; no other verb reads it."""

    _origin: Origin = PrivateAttr(default=Origin())

    @property
    def entrypoints(self) -> dict[str, tuple[str, ...]]:
        """Every policy entrypoint, and where the file names it first."""
        found: dict[str, tuple[str, ...]] = {}
        if self.policy.compat:
            found[self.policy.opa_envoy_plugin.entrypoint] = ("policy", "opa_envoy_plugin", "path")
        for route in self.routes:
            found.setdefault(route.policy, ("routes", route.name, "policy"))
        if self.api.authzen is not None and self.api.authzen.policy is not None:
            found.setdefault(self.api.authzen.policy, ("api", "authzen", "policy"))
        return found

    @property
    def origin(self) -> Origin:
        """The file that this was read from; empty for a configuration that was built in memory."""
        return self._origin

    @property
    def digest(self) -> str:
        """SHA-256 over the configuration file's bytes, hex; empty when there was no file."""
        return self._origin.digest

    def bind(self, file: str, digest: str) -> None:
        """Called once by the loader."""
        self._origin = Origin(file, digest)

    def issuer(self, name: str) -> IssuerSettings | None:
        """The issuer that routes call `name`."""
        return next((issuer for issuer in self.issuers if issuer.name == name), None)

    def route(self, name: str) -> RouteSettings | None:
        """The route called `name`."""
        return next((route for route in self.routes if route.name == name), None)
