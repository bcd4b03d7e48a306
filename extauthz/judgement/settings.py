"""What operators say about asynchronous judgement and quarantine."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from extauthz.settings import Duration, Settings, Size
from extauthz.store.settings import (  # noqa: TC001 - pydantic reads it at run time
    RedisStoreSettings,
    SqliteStoreSettings,
)

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class QuarantineRule(Settings):
    """Whom violations put into quarantine, after how many, and for how long."""

    by: Literal["workload", "token", "tenant"] = "workload"
    """What is put into quarantine: the calling workload, the token, or the subject's tenant."""
    strikes: Annotated[int, Field(ge=1, le=1000)] = 3
    """Violations within `window` that it takes."""
    window: Duration = Field("60s", validate_default=True, ge=1, le=86400)
    """How long a violation counts, from the time of its request."""
    duration: Duration = Field("10m", validate_default=True, ge=1, le=604800)
    """How long the quarantine lasts, unless an operator ends it."""
    scope: Literal["route", "everywhere"] = "route"
    """`route`: requests to this route are refused. `everywhere`: requests to every route."""


class JudgementRule(Settings):
    """How one route's requests are judged in the background."""

    when_full: Literal["sync", "refuse"] = "sync"
    """When no more requests may wait: `sync` judges this one at once, `refuse` answers `engine.queue_full`."""
    quarantine: QuarantineRule | None = None
    """What violations lead to; absent: they are recorded, counted and told, nothing else."""


class AlertSettings(Settings):
    """Who is told of violations and quarantines, by an HTTP POST of one JSON object each."""

    url: Annotated[str, Field(max_length=2048)]
    """Where it is posted to. Any 2xx answer takes it."""
    timeout: Duration = Field("2s", validate_default=True, gt=0, le=30)
    """Longest time for one attempt."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 4
    """Attempts, with a growing random pause in between; then the alert is dropped and counted."""
    waiting: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Alerts that may wait for being sent; further ones are dropped and counted."""
    unsafe_http: bool = False
    """Allow plain http to other hosts than loopback. Whoever reads that traffic learns who violated what."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            raise ValueError("url is not a URL") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ValueError("url: http(s)://host[:port]/… without credentials is expected")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.unsafe_http:
            raise ValueError("url: http is not encrypted: use https, or set unsafe_http")
        return self


class JudgementSettings(Settings):
    """The queue of routes with `evaluation: async`, and those who judge what waits in it."""

    queue: Annotated[SqliteStoreSettings | RedisStoreSettings, Field(discriminator="kind")]
    """Where requests wait: `sqlite` for the workers of one machine, `redis` for replicas on several."""
    max_waiting: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Requests that may wait; then the route's `when_full` applies."""
    max_entry: Size = Field("64KiB", validate_default=True, ge=1024, le=1024**2)
    """Size of one waiting request, at most; for a larger one `when_full` applies as well."""
    lease: Duration = Field("30s", validate_default=True, ge=1, le=3600)
    """A judge that took requests and was not heard of for so long has lost them to others."""
    batch: Annotated[int, Field(ge=1, le=1000)] = 64
    """Requests that a worker takes at once."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests that a worker judges at the same time."""
    timeout: Duration = Field("5s", validate_default=True, gt=0, le=60)
    """Time for one judgement, attributes and policy together."""
    give_up: Duration = Field("1h", validate_default=True, ge=1, le=604800)
    """A request that could not be judged for so long, because parts failed, is reported as unjudged."""
    keep: Duration = Field("1h", validate_default=True, ge=0, le=604800)
    """How long the queue remembers what became of a request, without the request itself."""
    lag_slo: Duration = Field("30s", validate_default=True, gt=0, le=86400)
    """A judgement that came later than this is counted as late."""
    alert: AlertSettings | None = None
    """Who is told of violations; absent: nobody, beside record, metric and audit trail."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timeout * 2 > self.lease:
            raise ValueError("lease must be at least twice timeout: a judgement ends within it")
        return self
