"""Settings of the HTTP API on `server.http`; without a block its endpoint does not exist."""

from __future__ import annotations

from pydantic import Field

from extauthz.authn.access import AccessSettings
from extauthz.authzen.settings import AuthzenSettings  # noqa: TC001 - pydantic reads it at run time
from extauthz.settings import Settings


class DecisionsSettings(AccessSettings):
    """`GET /decisions/{id}`: the full story of a decision, for operators."""

    keep: int = Field(default=1000, ge=1, le=100_000)
    """Denials that each worker keeps in memory; older ones are looked up in the file of decision records."""
    inputs: bool = False
    """Whether the policy input of a kept denial is kept as well; what `mask` names is replaced when it is shown."""
    mask: tuple[str, ...] = ("subject.id", "resource.id", "resource.properties.created_by")
    """Paths in the policy input whose values are shown as a digest: equal values stay recognisable, nothing else."""


class ApiSettings(Settings):
    """The HTTP API, for other callers than Envoy."""

    authzen: AuthzenSettings | None = None
    """AuthZEN 1.0: applications and test tools ask the questions that Envoy asks."""
    decisions: DecisionsSettings | None = None
    """`GET /decisions/{id}`: why was this refused?"""
    rollout: AccessSettings | None = None
    """`/policy/rollout`: what `extauthz policy status`, `promote` and `rollback` use."""
