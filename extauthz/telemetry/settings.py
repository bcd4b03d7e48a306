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


class TelemetrySettings(Settings):
    """Decision records, metrics and the process log."""

    records: RecordSettings = RecordSettings()
    """The decision records."""
    metrics: MetricSettings = MetricSettings()
    """The metrics."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The process log's level. The log goes to stderr as JSON lines."""
