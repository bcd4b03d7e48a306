"""A route's failure plan, applied: a refusal because a part failed may become what the route says instead."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from extauthz.model import Allow
from extauthz.telemetry.trail import FailureFacts

if TYPE_CHECKING:
    from extauthz.check.failure_settings import FailurePlan
    from extauthz.model import Decision, Deny
    from extauthz.telemetry.trail import Trail


class Cause(StrEnum):
    """The part that failed, by its name in the plan."""

    ENGINE = "engine"
    ATTRIBUTES = "attributes"
    INTROSPECTION = "introspection"


_FAILED: Final = {
    Cause.ENGINE: frozenset({"engine.unavailable", "engine.deadline"}),
    Cause.ATTRIBUTES: frozenset({"engine.attributes_unavailable", "engine.deadline"}),
    Cause.INTROSPECTION: frozenset({"engine.introspection_unavailable"}),
}
"""The codes of a part that is away or too slow; with any other it has answered, and its answer stands."""
_OPEN: Final = Allow()


def planned(plan: FailurePlan, cause: Cause, refused: Deny, trail: Trail) -> Decision:
    """What follows when a part refused: the refusal itself, unless the part failed and the plan is `open`."""
    if refused.code not in _FAILED[cause] or getattr(plan, cause.value) != "open":
        return refused
    trail.mode = "open"
    trail.failure = FailureFacts(cause.value, refused.code, "open")
    return _OPEN
