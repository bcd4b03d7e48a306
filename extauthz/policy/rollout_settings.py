"""Settings of a staged rollout: a candidate beside the live policy, first in shadow, then for a share of subjects."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from extauthz.settings import Duration, Settings


class RollbackSettings(Settings):
    """When a candidate is taken back by itself. Both policies are asked the same questions, so their rates compare."""

    max_denial_increase: float = Field(default=1.0, gt=0, le=100)
    """The most by which the candidate's denial rate may exceed the live policy's, in percentage points."""
    min_decisions: int = Field(default=200, ge=1, le=1_000_000)
    """Compared decisions in the window before the bound is applied; each worker counts its own."""
    window: Duration = Field(default="5m", ge=1, le=86400)  # type: ignore[assignment]  # parsed by the unit's validator
    """How far back decisions are counted."""
    to: Literal["shadow", "off"] = "shadow"
    """What is left of a candidate that was taken back: `shadow` goes on comparing, `off` asks it nothing more."""


class CandidateSettings(Settings):
    """A policy that is tried beside the live one."""

    path: Path
    """The candidate: a policy directory as `policy.path`, or a policy bundle file (`.tar.gz`)."""
    mode: Literal["shadow", "percent"] = "shadow"
    """`shadow`: the candidate answers nobody. `percent`: it answers `percent` of the subjects or tenants."""
    sample: float = Field(default=10.0, gt=0, le=100)
    """Percentage of the Checks that are put to the candidate as well, without waiting for it."""
    percent: float = Field(default=5.0, ge=0, le=100)
    """With `mode: percent`: the share of subjects (or tenants) that the candidate decides for, always the same ones."""
    by: Literal["subject", "tenant"] = "subject"
    """What the share is taken of. A Check without a tenant stays with the live policy."""
    tenants: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = ()
    """Only Checks of these tenants take part (`subject.properties.tenant`). Empty: all."""
    routes: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Only Checks of these routes take part. Empty: all."""
    rollback: RollbackSettings = RollbackSettings()
    """When the candidate is taken back by itself."""
    queue: int = Field(default=512, ge=1, le=65536)
    """Comparisons that may wait, in each worker; further ones are dropped and counted."""
    concurrency: int = Field(default=2, ge=1, le=64)
    """Comparisons that run at the same time, in each worker."""
    differences: int = Field(default=200, ge=1, le=10_000)
    """Differing decisions that each worker keeps for `extauthz policy status`; the oldest goes first."""
    state: Annotated[str, Field(max_length=4096)] = ""
    """File that keeps promotions and rollbacks over a restart. Without it they last until the server stops."""

    @model_validator(mode="after")
    def _share(self) -> Self:
        if self.mode == "percent" and self.percent <= 0:
            raise ValueError("mode percent needs a percent above 0; shadow asks the candidate without its answer")
        return self
