"""What an operator says about the audit trail."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.settings import Duration, Settings, Size

_PATH: Final = r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,15}$"
KEPT: Final = frozenset(
    {"schema", "writer", "seq", "event", "timestamp", "chain", "decision_id", "revision", "layer", "code", "result"}
)
"""Members that no rule may touch: without them a record proves nothing, or cannot be found."""
_STAY: Final = KEPT | {"subject", "subject.id", "workload", "request", "request.route", "resource", "result.allow"}
"""Members that may be masked, where KEPT does not say otherwise, and never dropped."""
KEY_FILE: Final = "audit.key"


def _maskable(path: str) -> str:
    if path.partition(".")[0] in KEPT and not path.startswith("result.reasons.detail"):
        raise ValueError(f"`{path}` is part of what a record proves")
    return path


def _droppable(path: str) -> str:
    if path in _STAY:
        raise ValueError(f"`{path}` is part of what a record proves: it may be masked, not dropped")
    return _maskable(path)


Masked = Annotated[str, Field(pattern=_PATH), AfterValidator(_maskable)]
Dropped = Annotated[str, Field(pattern=_PATH), AfterValidator(_droppable)]


class CheckpointSettings(Settings):
    """How often a signature goes into the chain itself."""

    records: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """After so many records …"""
    interval: Duration = Field("1s", validate_default=True, ge=0.01, le=3600)
    """… and after so much time, when there are new records."""


class RotateSettings(Settings):
    """When a new file begins, and how many old ones are kept."""

    size: Size = Field("64MiB", validate_default=True, ge=4096, le=16 * 1024**3)
    """Bytes of a file after which the next one begins; the old one is compressed."""
    age: Duration = Field("24h", validate_default=True, ge=1, le=31_536_000)
    """Age of a file after which the next one begins."""
    keep: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Files of a writer beyond which the oldest are deleted, which is recorded. 0: nothing is ever deleted."""


class StdoutSink(Settings):
    """A copy of every record on stdout."""

    kind: Literal["stdout"]
    """`stdout`."""


class _Uploaded(Settings):
    buffer: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    """Records that may wait for the receiver; further ones are not sent to it and are counted."""
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records of one request."""
    timeout: Duration = Field("5s", validate_default=True, ge=0.1, le=60)
    """How long one request may take."""
    token_file: Path | None = None
    """File with a bearer token for the receiver; read again for every request."""


class HttpSink(_Uploaded):
    """A copy of every record to a service that takes OPA's decision logs: POST of a compressed JSON array."""

    kind: Literal["http"]
    """`http`."""
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2048)]
    """The service; `/logs` is appended."""
    partition: Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]{1,64})?$")] = ""
    """Appended after `/logs/`, as in OPA."""

    @property
    def address(self) -> str:
        """`<url>/logs[/<partition>]`."""
        return f"{self.url.rstrip('/')}/logs" + (f"/{self.partition}" if self.partition else "")


class OpenTelemetrySink(_Uploaded):
    """A copy of every record as an OpenTelemetry log record (OTLP over HTTP, JSON)."""

    kind: Literal["opentelemetry"]
    """`opentelemetry`."""
    endpoint: Annotated[str, Field(pattern=r"^https?://", max_length=2048)]
    """The collector; `/v1/logs` is appended."""

    @property
    def address(self) -> str:
        """`<endpoint>/v1/logs`."""
        return f"{self.endpoint.rstrip('/')}/v1/logs"


SinkSettings = Annotated[StdoutSink | HttpSink | OpenTelemetrySink, Field(discriminator="kind")]


class AuditSettings(Settings):
    """The audit trail: who did what, in files that show when somebody touched them."""

    directory: Path | None = None
    """Directory of the audit files, private to the server's user. Absent: there is no audit trail."""
    key: Path | None = None
    """The key that signs the chain (PKCS#8 PEM, mode 0600); made at the first start. Absent: `audit.key` in the directory."""  # noqa: E501 - one line, for the JSON Schema
    checkpoint: CheckpointSettings = CheckpointSettings()
    """Signatures in the chain."""
    rotate: RotateSettings = RotateSettings()
    """Files of the chain."""
    sync: Literal["none", "batch"] = "none"
    """`batch`: records are on the disk before anybody goes on (fsync), `none`: with the operating system."""
    buffer: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    """Records that may wait; further ones are dropped, and how many is recorded."""
    patience: Duration = Field("2s", validate_default=True, ge=0.05, le=30)
    """How long an issuance waits for its record, then it fails."""
    mask: tuple[Masked, ...] = ()
    """Paths whose values are replaced by a digest, keyed by the audit key: `subject.id`, `request.path`."""
    drop: tuple[Dropped, ...] = ()
    """Paths that are left out: `requested_by`."""
    sinks: tuple[SinkSettings, ...] = ()
    """Where copies go. The files are what counts; a slow receiver stops nobody."""

    @property
    def key_file(self) -> Path | None:
        """Where the key is; None without a trail."""
        if self.directory is None:
            return None
        return self.key if self.key is not None else self.directory / KEY_FILE

    @property
    def uploads(self) -> tuple[HttpSink | OpenTelemetrySink, ...]:
        """The sinks that records are posted to."""
        return tuple(sink for sink in self.sinks if not isinstance(sink, StdoutSink))

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.directory is None and self.model_fields_set - {"directory"}:
            raise ValueError(
                "`directory` is missing: the files of the chain are the trail, everything else follows them"
            )
        return self
