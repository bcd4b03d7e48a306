"""A route's failure plan: what happens when a part that a decision needs cannot answer.

`closed` refuses with the part's code. `open` lets the request through and says so. `degrade` decides with what is
left, and tells the policy what is missing (`input.context.degraded`). An answer that is wrong (undefined, not a
decision) is no failure of a part: it always refuses.
"""

from __future__ import annotations

from typing import Literal

from extauthz.settings import Settings

Word = Literal["closed", "open", "degrade"]


class FailurePlan(Settings):
    """One word for each part. A route with effects is closed for all of them."""

    engine: Literal["closed", "open", "degrade"] = "closed"
    """The policy engine is away or too slow. `degrade`: the last known good policy answers in this process."""
    attributes: Literal["closed", "open", "degrade"] = "closed"
    """An attribute source is away or too slow. `degrade`: the policy is asked without its values."""
    introspection: Literal["closed", "open"] = "closed"
    """The issuer of an opaque token cannot be asked. `open` lets a request through whose token nobody has verified."""
    revocations: Literal["closed", "open"] | None = None
    """What has been revoked is not known (`revocation.max_age`). Absent: closed with effects, else open."""
    audit: Literal["closed", "open"] | None = None
    """The audit trail cannot be written. Absent: closed with effects, else open, and the lost records are counted."""


def plan_of(word: Word | FailurePlan | None, *, effects: bool) -> FailurePlan:
    """The plan with nothing left open."""
    lenient: Literal["closed", "open"] = "closed" if effects else "open"
    if word == "closed":
        return FailurePlan(revocations="closed", audit="closed")
    if word == "open":
        return FailurePlan(engine="open", attributes="open", introspection="open", revocations="open", audit="open")
    if word == "degrade":
        return FailurePlan(engine="degrade", attributes="degrade", revocations=lenient, audit=lenient)
    plan = word or FailurePlan()
    missing = {name: lenient for name in ("revocations", "audit") if getattr(plan, name) is None}
    return plan.model_copy(update=missing)
