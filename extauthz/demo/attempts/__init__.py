"""What is tried, and what must come of it: one table for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts import (
    allowed,
    asynchronous,
    attributes,
    audit,
    break_glass,
    engine,
    identities,
    patterns,
    requests,
    roles,
    tokens,
    transports,
    workloads,
)

if TYPE_CHECKING:
    from extauthz.demo.attempts.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *allowed.SCENARIOS,
    *requests.SCENARIOS,
    *workloads.SCENARIOS,
    *transports.SCENARIOS,
    *tokens.SCENARIOS,
    *roles.SCENARIOS,
    *attributes.SCENARIOS,
    *identities.SCENARIOS,
    *patterns.SCENARIOS,
    *asynchronous.SCENARIOS,
    *break_glass.SCENARIOS,
    *audit.SCENARIOS,
    *engine.SCENARIOS,  # parts are stopped here, so it comes last
)
