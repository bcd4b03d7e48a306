"""Settings of `policy.compat`: opa-envoy-plugin's own keys, spelt as in its configuration.

The block below `plugins.envoy_ext_authz_grpc` of OPA's configuration can be pasted as it is. Source: opa-envoy-plugin,
README.md and `internal.Config`.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.settings import Settings

PLUGIN: Final = "opa-envoy-plugin"
DEFAULT_PATH: Final = "envoy/authz/allow"
DEFAULT_RECEIVE: Final = 4 * 1024**2
_PATH: Final = re.compile(r"/*[A-Za-z0-9_.-]+(?:/+[A-Za-z0-9_.-]+)*/*")
_QUERY: Final = re.compile(r"data(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_ADDRESS: Final = re.compile(r"(?:grpc://)?(?P<host>[^/:@]*|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})|unix:///[^@]+")


def _path(value: str) -> str:
    if value and not _PATH.fullmatch(value):
        raise ValueError("a rule's path below `data` is expected: envoy/authz/allow")
    return value


def _query(value: str) -> str:
    if value and not _QUERY.fullmatch(value):
        raise ValueError("only a plain reference is taken, for example data.envoy.authz.allow: write `path` instead")
    return value


def _addr(value: str) -> str:
    if value and not _ADDRESS.fullmatch(value):
        raise ValueError(":port, host:port or unix:///path is expected; abstract Unix sockets are not served")
    return value


class OpaEnvoyPluginSettings(Settings):
    """opa-envoy-plugin's configuration keys, for `policy.compat: opa-envoy-plugin`."""

    addr: Annotated[str, AfterValidator(_addr)] = ""
    """Where Envoy sends its Checks, instead of `server.listen`; `:9191` is the loopback: name a host to be reached from
    elsewhere, and set `server.tls`."""
    path: Annotated[str, AfterValidator(_path)] = ""
    """The rule that decides, as a path below `data`; `envoy/authz/allow` when empty."""
    query: Annotated[str, AfterValidator(_query)] = ""
    """The plugin's deprecated form of `path`: `data.envoy.authz.allow`."""
    dry_run: bool = Field(default=False, alias="dry-run")
    """True: a denial of the policy is answered as an allow; records and metrics still say what was decided."""
    enable_reflection: bool = Field(default=False, alias="enable-reflection")
    """Accepted; reflection of Envoy's public API is always served."""
    proto_descriptor: Path | None = Field(default=None, alias="proto-descriptor")
    """A descriptor set (`protoc --include_imports --descriptor_set_out`): gRPC bodies become `parsed_body`."""
    grpc_max_recv_msg_size: int = Field(
        default=DEFAULT_RECEIVE, ge=4096, le=64 * 1024**2, alias="grpc-max-recv-msg-size"
    )
    """The largest CheckRequest in bytes, instead of `server.max_check`."""
    grpc_max_send_msg_size: int = Field(default=2**31 - 1, ge=1, alias="grpc-max-send-msg-size")
    """Accepted; an answer is bounded by `policy.embedded.max_result` or `policy.sidecar.max_response`."""
    skip_request_body_parse: bool = Field(default=False, alias="skip-request-body-parse")
    """True: the input has no `parsed_body` and no `truncated_body`."""
    enable_performance_metrics: bool = Field(default=False, alias="enable-performance-metrics")
    """Accepted; the duration and the faults of Checks are always counted, under names of our own."""
    grpc_request_duration_seconds_buckets: tuple[float, ...] = Field(
        default=(), alias="grpc-request-duration-seconds-buckets"
    )
    """Accepted; the buckets of our histograms are fixed."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.path and self.query:
            raise ValueError("path and query are given: keep path")
        return self

    @property
    def entrypoint(self) -> str:
        """The rule's path below `data`, without leading, trailing and double slashes."""
        if self.query:
            return self.query.removeprefix("data.").replace(".", "/")
        return "/".join(filter(None, self.path.split("/"))) or DEFAULT_PATH

    @property
    def listen(self) -> str:
        """`addr` in the words of `server.listen`; empty when it is not given."""
        match = _ADDRESS.fullmatch(self.addr)
        if match is None or match["port"] is None:
            return self.addr
        # In Go `:9191` is every address of the machine; clear text from other hosts has to be asked for by name.
        return f"{match['host'] or '127.0.0.1'}:{match['port']}"
