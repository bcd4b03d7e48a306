"""What an operator says about decision records, metrics and the process log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from extauthz.settings import Duration, Settings


class RecordSettings(Settings):
    """The decision records: one JSON line for each Check."""

    output: Annotated[str, Field(pattern=r"^(stdout|stderr|none|.*/.+)$", max_length=4096)] = "stdout"
    """`stdout`, `stderr`, `none`, or the path of a file (it holds a slash) that lines are appended to."""
    interval: Duration = Field("50ms", validate_default=True, ge=0.001, le=10)
    """How long a record waits to be written together with others."""
    buffer: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    """Records that may wait; further ones are dropped and counted."""
    path: Literal["template", "full"] = "template"
    """`template`: the route's path template stands for the path, which may hold account numbers. `full`: the path as sent."""  # noqa: E501 - one line, for the JSON Schema
    input: Literal["none", "projected"] = "none"
    """`projected`: a record also holds what the policy could read of its input, for `extauthz policy replay` and `diff`."""  # noqa: E501 - one line, for the JSON Schema
    mask: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,15}$")], ...] = ()
    """Paths below the policy input whose values a recorded input replaces by a digest: `subject.id`."""
    labels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")], Annotated[str, Field(max_length=128)]] = (
        Field(default_factory=dict)
    )
    """Fixed labels of every record, for example the zone."""


class MetricSettings(Settings):
    """The metrics."""

    max_policy_codes: Annotated[int, Field(ge=0, le=1000)] = 100
    """Codes of policies that get a label of their own; later ones are counted as `other`."""


class TraceSettings(Settings):
    """Spans of sampled Checks, for an OpenTelemetry collector (OTLP over HTTP, in JSON)."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2048)]
    """Where a collector takes spans: `http://127.0.0.1:4318/v1/traces`."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the traces that are kept where the caller does not decide; the trace id does, on every server alike."""
    parent: Literal["follow", "ratio"] = "follow"
    """`follow`: a caller that names a trace decides whether it is kept. `ratio`: it does not; for strangers."""
    interval: Duration = Field("1s", validate_default=True, ge=0.01, le=60)
    """How long spans wait to be sent together."""
    timeout: Duration = Field("2s", validate_default=True, ge=0.01, le=60)
    """How long the collector may take; what it did not take by then is dropped and counted."""
    buffer: Annotated[int, Field(ge=64, le=100_000)] = 2048
    """Checks whose spans may wait; further ones are dropped and counted."""


class TelemetrySettings(Settings):
    """Decision records, metrics, spans and the process log."""

    records: RecordSettings = RecordSettings()
    """The decision records."""
    metrics: MetricSettings = MetricSettings()
    """The metrics."""
    traces: TraceSettings | None = None
    """Spans; none are made while this is absent."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The process log's level. The log goes to stderr as JSON lines."""
