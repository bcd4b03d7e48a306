"""Settings of the `server` block: where `extauthz serve` listens, and what it accepts there."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.settings import Duration, Settings, Size

_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_UNIX: Final = "unix://"
_UNIX_PATH_MAX: Final = 100
"""`sun_path` holds 108 bytes on Linux, 104 on macOS."""


def _address(value: str) -> str:
    if value.startswith(_UNIX):
        path = value.removeprefix(_UNIX)
        if not path.startswith("/") or path.endswith("/") or len(path.encode()) > _UNIX_PATH_MAX:
            raise ValueError(f"an absolute path of at most {_UNIX_PATH_MAX} bytes is expected: unix:///run/check.sock")
        return value
    match = _HOST_PORT.fullmatch(value)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError("host:port or unix:///path is expected: 127.0.0.1:9191")
    return value


Address = Annotated[str, AfterValidator(_address)]


def unix_path(address: str) -> str:
    """The socket path of a `unix://` address; empty for `host:port`."""
    return address.removeprefix(_UNIX) if address.startswith(_UNIX) else ""


def host_port(address: str) -> tuple[str, int]:
    """Host (no brackets) and port of a checked `host:port` address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class TlsSettings(Settings):
    """mTLS on the Check listener: only peers with a certificate of `client_ca` may ask."""

    certificate: Path
    """PEM file with the server's certificate chain, leaf first."""
    private_key: Path
    """PEM file with the server's private key."""
    client_ca: Path
    """PEM file with the certificate authorities of the Envoys that may call."""


class AdmissionSettings(Settings):
    """Who is refused under overload, so that critical routes stay fast."""

    enabled: bool = True
    """False: nothing is shed; requests wait for as long as their callers do."""
    in_flight: int = Field(default=256, ge=4, le=65536)
    """Checks that may be in flight in one worker; a quarter of it for sheddable routes, a half for normal ones.
    Never more than `max_concurrent`."""
    target: Duration = Field(default="20ms", gt=0, le=1)  # type: ignore[assignment]  # parsed by the unit's validator
    """How long the worker's queue may make a Check wait, each time it waits, before others are shed."""
    engine: int = Field(default=32, ge=1, le=1024)
    """Questions that may stand before the policy engine, for one worker; twice its cores keeps waits short."""


class ServerSettings(Settings):
    """Where the server listens, and its limits."""

    listen: Address = "127.0.0.1:9191"
    """Where Envoy sends its Checks: `host:port`, or `unix:///path`."""
    transport: Literal["auto", "envoy", "grpcio"] = "auto"
    """`envoy` hosts Python inside an Envoy process (fastest), `grpcio` is plain Python; `auto` takes the best here."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that share the port; a Unix socket takes one."""
    http: Address = "127.0.0.1:9190"
    """Where /healthz, /readyz and /metrics are served: `host:port`, or `unix:///path`."""
    tls: TlsSettings | None = None
    """mTLS on the Check listener; without it keep the listener on the loopback or on a Unix socket."""
    drain: Duration = Field(default="10s", ge=0, le=600)  # type: ignore[assignment]  # parsed by the unit's validator
    """How long Checks in flight may take to finish once the server is told to stop."""
    max_check: Size = Field(default="4MiB", ge=4096, le=64 * 1024**2)  # type: ignore[assignment]  # the same
    """The largest CheckRequest that is read."""
    max_concurrent: int = Field(default=1024, ge=1, le=65536)
    """Checks in flight in one worker; more are answered RESOURCE_EXHAUSTED at once."""
    max_deadline: Duration = Field(default="500ms", gt=0, le=30)  # type: ignore[assignment]  # the same
    """The longest time spent on one Check, also when the caller gives more or sets no deadline."""
    admission: AdmissionSettings = AdmissionSettings()
    """What is shed under overload: `criticality` of a route says in which order."""

    @model_validator(mode="after")
    def _one_worker_on_a_unix_socket(self) -> Self:
        if self.workers > 1 and unix_path(self.listen):
            raise ValueError("several workers cannot share a Unix socket: set workers to 1, or listen on host:port")
        if self.listen == self.http and not self.http.endswith(":0"):
            raise ValueError("listen and http are the same address: give each its own")
        return self
