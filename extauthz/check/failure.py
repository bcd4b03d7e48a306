"""A route's failure plan, applied: what follows when a part that a decision needs is away.

1. Only a part that did not answer has failed. Whatever it answered stands, also an answer that cannot be used: whoever
   can provoke one must not be able to open a route with it.
2. `open` lets the request through without judging it further; `degrade` has it judged with what is left.
3. Either is said: to the upstream (`x-extauthz-mode`), in the record (`failure`, `mode`, `degraded`), in a metric.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from extauthz.model import Allow, Away
from extauthz.telemetry.trail import FailureFacts

if TYPE_CHECKING:
    from typing import Literal

    from extauthz.check.failure_settings import FailurePlan
    from extauthz.errors import EngineFault
    from extauthz.model import Decision, Deny
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.trail import Trail


class Cause(StrEnum):
    """The part that failed, by its name in the plan."""

    ENGINE = "engine"
    ATTRIBUTES = "attributes"
    INTROSPECTION = "introspection"
    REVOCATIONS = "revocations"


ENGINE_AWAY: Final = frozenset({"engine.unavailable", "engine.deadline"})
"""The faults of an engine that is away or too slow; with any other it has answered."""
REVOCATIONS_STALE: Final = "engine.revocations_stale"
OPEN: Final = Allow()
"""What goes on unjudged; without obligations."""


def away(fault: EngineFault) -> bool:
    """Whether the engine gave no answer (step 1)."""
    return fault.code in ENGINE_AWAY


def planned(plan: FailurePlan, cause: Cause, refused: Deny, trail: Trail, metrics: Metrics) -> Decision:
    """What follows when a part refused: the refusal itself, unless the part failed and the plan is `open`."""
    if not isinstance(refused, Away) or getattr(plan, cause.value) != "open":
        return refused
    note(trail, cause, refused.code, "open", metrics)
    return OPEN


def note(trail: Trail, cause: Cause, code: str, plan: Literal["open", "degrade"], metrics: Metrics) -> None:
    """Step 3: `code` is what the Check would have been refused with. To be open outweighs to be degraded.

    A request that goes on without revocations is judged like any other: that is recorded and counted, not a mode.
    """
    trail.failure = FailureFacts(cause.value, code, plan)
    if plan == "open":
        trail.mode = trail.mode if cause is Cause.REVOCATIONS else "open"
    else:
        trail.degraded = (*trail.degraded, cause.value)
        trail.mode = trail.mode or "degraded"
    metrics.count("extauthz_failure_plans_total", trail.route.name, cause.value, plan)
