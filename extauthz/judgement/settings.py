"""What operators say about asynchronous judgement and quarantine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from extauthz.settings import Duration, Settings


class QuarantineRule(Settings):
    """Whom violations put into quarantine, after how many, and for how long."""

    by: Literal["workload", "token", "tenant"] = "workload"
    """What is put into quarantine: the calling workload, the token, or the subject's tenant."""
    strikes: Annotated[int, Field(ge=1, le=1000)] = 3
    """Violations within `window` that it takes."""
    window: Duration = Field("60s", validate_default=True, ge=1, le=86400)
    """How long a violation counts."""
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
