"""Layer `role`: a good token of somebody who may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import denied
from extauthz.demo.zones import MODEL, STORAGE

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def support(lab: Lab) -> Answer:
    return await lab.edge(lab.user("carol"), lab.transfer())


async def nobody(lab: Lab) -> Answer:
    return await lab.edge(lab.user("dave"), lab.transfer())


async def invented(lab: Lab) -> Answer:
    return await lab.edge(lab.user(roles=["superuser"]), lab.transfer())


async def both(lab: Lab) -> Answer:
    return await lab.edge(lab.user("erin"), lab.transfer())


async def borrowed_rows(lab: Lab) -> Answer:
    """The fraud scorer asks, but on behalf of a user whose role does not cover it."""
    return await lab.features(lab.svid(MODEL), lab.hop(MODEL, STORAGE, user="carol"))


SCENARIOS: Final = (
    denied(
        "support-agent-pays", "carol's role answers customers, it does not pay", 403, "role.permission_missing", support
    ),
    denied("no-role", "dave has no role", 403, "role.none", nobody),
    denied("invented-role", "a role that no policy knows", 403, "role.none", invented),
    denied("both-duties", "erin may enter and approve: the duties exclude each other", 403, "role.conflict", both),
    denied(
        "rows-for-support",
        "feature rows on behalf of a user whose role does not cover it",
        403,
        "role.permission_missing",
        borrowed_rows,
    ),
)
