"""The caller's deadline, shared out over the stages of a Check that may wait.

Each stage gets a part of the time that is left when it begins: its weight over the weights of itself and of all stages
that may still wait after it. So a stage that ends early leaves its rest to the next, the parts never add up to more
than there is, and none of them is nothing.

| stage | weight | may wait |
| --- | --- | --- |
| credential | 16 | a token: keys are fetched, the issuer is asked |
| attributes | 24 | a source of the route asks another service |
| engine | 16 | always |
| fallback | 8 | `on_failure.engine: degrade`: the policy in this process answers instead |
| exchange | 12 | the route exchanges its token |
| answer | 1 | always: what has been decided still has to arrive |

A route with a token and nothing else lets the credential take 16/33 of its deadline, and the engine 16/17 of what is
left then. What a cache answers waits for nothing and takes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from extauthz.check.routes import RouteSettings

STAGES: Final = ("credential", "attributes", "engine", "fallback", "exchange")
WEIGHTS: Final = {"credential": 16, "attributes": 24, "engine": 16, "fallback": 8, "exchange": 12}
ANSWER: Final = 1


@dataclass(frozen=True, slots=True)
class Budget:
    """Each stage's part, between 0 and 1, of the time that is left when it begins; 0 for a stage that never waits."""

    credential: float = 0.0
    attributes: float = 0.0
    engine: float = 0.0
    fallback: float = 0.0
    exchange: float = 0.0

    @classmethod
    def of(cls, route: RouteSettings, *, attributes: bool) -> Budget:
        """`attributes`: whether a source of the route may have to be waited for."""
        waits = {
            "credential": route.token is not None,
            "attributes": attributes,
            "engine": True,
            "fallback": route.failure_plan.engine == "degrade",
            "exchange": route.exchange is not None,
        }
        parts: dict[str, float] = {}
        after = ANSWER
        for stage in reversed(STAGES):
            if waits[stage]:
                after += WEIGHTS[stage]
                parts[stage] = WEIGHTS[stage] / after
        return cls(**parts)


def until(now: float, deadline: float, part: float) -> float:
    """When a stage that begins now has to end (monotonic seconds)."""
    return now + (deadline - now) * part
