"""Settings of the policy engines: where the policy comes from, which engine evaluates it, how answers are reused."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.endpoint import BreakerSettings
from extauthz.policy.bundle_settings import BundleSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.policy.compat_settings import OpaEnvoyPluginSettings
from extauthz.policy.rollout_settings import CandidateSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.settings import Duration, Settings, Size

_ADDRESS = re.compile(r"unix://(?P<path>/.+)|http://(?P<host>127\.0\.0\.1|localhost|\[::1\]):(?P<port>\d{1,5})")
_UNIX_PATH_BYTES = 100
_PORTS = range(1, 65536)


def _address(value: str) -> str:
    if not value:
        return value
    match = _ADDRESS.fullmatch(value)
    if match is None:
        raise ValueError("unix:///path/opa.sock or http://127.0.0.1:8181 is expected: OPA is asked in clear text")
    if match["port"] is not None and int(match["port"]) not in _PORTS:
        raise ValueError("the port must be between 1 and 65535")
    if match["path"] is not None and len(match["path"].encode()) > _UNIX_PATH_BYTES:
        raise ValueError(f"a Unix socket's path must be shorter than {_UNIX_PATH_BYTES} bytes")
    return value


class SidecarSettings(Settings):
    """How a separate OPA process is reached."""

    address: Annotated[str, AfterValidator(_address)] = ""
    """`unix:///path/opa.sock` or `http://127.0.0.1:8181`: an OPA of your own, with `supervise: false`."""
    supervise: bool = True
    """Whether extauthz starts, watches and reloads the OPA itself, from `policy.path`, on a socket of its own."""
    pool: int = Field(default=32, ge=1, le=1024)
    """The most connections that are open at once; further questions wait for one."""
    queue: int = Field(default=256, ge=0, le=65536)
    """How many further questions may wait for a connection; beyond that the engine is unavailable."""
    timeout: Duration = Field(default="1s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit's validator
    """The longest that one question may take, when the caller's own deadline is later."""
    max_response: Size = Field(default="256KiB", ge=1024, le=16 * 1024**2)  # type: ignore[assignment]  # the same
    """The largest answer that is read; a larger one is a fault of the engine."""
    watch: Duration = Field(default="2s", ge=0.1, le=60)  # type: ignore[assignment]  # the same
    """How often an OPA that extauthz does not supervise is asked for its policy revision."""
    breaker: BreakerSettings = BreakerSettings()
    """When OPA is left alone because it fails."""

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if self.supervise and self.address:
            raise ValueError("address names an OPA of your own: set supervise to false, or leave address out")
        if not self.supervise and not self.address:
            raise ValueError("without supervise, address must name the OPA to ask")
        return self


class EmbeddedSettings(Settings):
    """How OPA is used as a library in the serving process."""

    threads: int = Field(default=2, ge=1, le=64)
    """How many questions are evaluated at the same time, in each worker."""
    queue: int = Field(default=256, ge=1, le=65536)
    """How many further questions may wait for a thread; beyond that the engine is unavailable."""
    timeout: Duration = Field(default="1s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit's validator
    """The longest that one question may take, when the caller's own deadline is later."""
    max_result: Size = Field(default="256KiB", ge=1024, le=16 * 1024**2)  # type: ignore[assignment]  # the same
    """The largest result that is read; a larger one is a fault of the engine."""


class CacheSettings(Settings):
    """How long and how many decisions are kept, in each worker."""

    enabled: bool = True
    """Whether decisions are reused at all."""
    max_entries: int = Field(default=100_000, ge=16, le=10_000_000)
    """The most decisions that are kept."""
    ttl: Duration = Field(default="30s", ge=0, le=3600)  # type: ignore[assignment]  # parsed by the unit's validator
    """The longest that an allow is kept; the route, the policy and the credential may only shorten it."""
    deny_ttl: Duration = Field(default="5s", ge=0, le=3600)  # type: ignore[assignment]  # the same
    """The longest that a denial is kept."""
    clock_ttl: Duration = Field(default="1s", ge=0, le=60)  # type: ignore[assignment]  # the same
    """The longest that a decision is kept whose policy can read the time; 0 switches its reuse off."""


class PolicySettings(Settings):
    """The policy, and the engine that evaluates it."""

    engine: Literal["sidecar", "embedded"] = "sidecar"
    """`sidecar`: a separate OPA process. `embedded`: OPA as a library in each worker."""
    path: Path | None = None
    """The directory of the policy: `*.rego` (without `*_test.rego`), `data.json` and `data.yaml` files."""
    bundle: BundleSettings | None = None
    """A policy bundle instead of a directory: verified, proven by its own decision cases, and kept."""
    max_bytes: Size = Field(default="16MiB", ge=1024, le=1024**3)  # type: ignore[assignment]  # parsed by the validator
    """The most bytes that the files of the policy directory may have together."""
    max_files: int = Field(default=2000, ge=1, le=100_000)
    """The most files that the policy directory may have."""
    sidecar: SidecarSettings = SidecarSettings()
    """How a separate OPA process is reached."""
    embedded: EmbeddedSettings = EmbeddedSettings()
    """How OPA is used as a library."""
    cache: CacheSettings = CacheSettings()
    """How decisions are reused."""
    compat: Literal["", "opa-envoy-plugin"] = ""
    """`opa-envoy-plugin`: its input document and result contract instead of ours, so that its users' Rego runs."""
    opa_envoy_plugin: OpaEnvoyPluginSettings = OpaEnvoyPluginSettings()
    """What opa-envoy-plugin was configured with; read with `compat: opa-envoy-plugin` only."""
    candidate: CandidateSettings | None = None
    """Another policy that is tried beside this one, on the same Checks."""

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if self.path is not None and self.bundle is not None:
            raise ValueError("name either path or bundle")
        return self
