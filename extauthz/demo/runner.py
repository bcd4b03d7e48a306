"""Runs scenarios, one row each.

`added_us` is what authorization added to the request, in microseconds, as the Envoys measured it: each one's ext_authz
filter notes how long its Check took (`emit_filter_state_stats`), the access log writes it as `authz_us`, and the hops
of one request share its `x-request-id`. It is the sum over all Checks; 0 where Envoy itself refused.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.attempts import SCENARIOS
from extauthz.demo.lab import Answer
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extauthz.demo.attempts.scenario import Scenario
    from extauthz.demo.lab import Lab
    from extauthz.demo.stage import Stage

_LOG_WAIT: Final = 0.4
"""Seconds: Envoys write their access logs every 20 ms."""
_POLL: Final = 0.04


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one scenario. `problem` is empty when it went as it must."""

    scenario: Scenario
    answer: Answer
    problem: str
    checks: int
    """Checks that the request went through: at each zone's door, and before each call that left a zone."""
    added_us: int

    @property
    def ok(self) -> bool:
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.scenario.name,
            "tried": self.scenario.what,
            "expected": self.scenario.expected,
            "status": self.answer.status,
            "layer": self.answer.layer,
            "code": self.answer.code,
            "ok": self.ok,
            "checks": self.checks,
            "added_us": self.added_us,
            **({"problem": self.problem} if self.problem else {}),
        }


def choose(name: str | None) -> Sequence[Scenario]:
    """Every scenario, or the one of that name. Raises ExtauthzError for a name that there is not."""
    if name is None:
        return SCENARIOS
    if chosen := [scenario for scenario in SCENARIOS if scenario.name == name]:
        return chosen
    raise ExtauthzError(f"no scenario is called {name}; there are {', '.join(s.name for s in SCENARIOS)}")


class Runner:
    """`warm_up` first: the first Check of a server fetches keys and opens connections."""

    def __init__(self, platform: Stage, lab: Lab) -> None:
        self._platform = platform
        self._lab = lab

    async def warm_up(self, seconds: float = 15.0) -> None:
        """Honest transfers, until one goes through. Raises ExtauthzError when none does."""
        deadline = time.monotonic() + seconds
        token = await self._lab.sign_in()
        while True:
            answer = await self._lab.edge(token, self._lab.transfer())
            if answer.status == 201:  # noqa: PLR2004 - created
                return
            if time.monotonic() > deadline:
                said = answer.code or json.dumps(dict(answer.body))
                raise ExtauthzError(f"the platform lets no transfer through: {answer.status} {said}")
            await asyncio.sleep(_POLL)

    async def run(self, scenario: Scenario) -> Row:
        try:
            answer = await scenario.attempt(self._lab)
            problem = scenario.problem(answer)
        except ExtauthzError as error:
            answer, problem = Answer(0), str(error)
        checks, added = await self._added(answer.request_id)
        return Row(scenario, answer, problem, checks, added)

    async def _added(self, request_id: str) -> tuple[int, int]:
        """Checks and microseconds of one request."""
        deadline = time.monotonic() + _LOG_WAIT
        seen = 0
        while request_id:
            spent = [int(entry.get("authz_us") or 0) for entry in self._entries(request_id)]
            # Each Envoy writes in its own time: one more look after the last line that came.
            if (spent and len(spent) == seen) or time.monotonic() > deadline:
                return len(spent), sum(spent)
            seen = len(spent)
            await asyncio.sleep(_POLL)
        return 0, 0

    def _entries(self, request_id: str) -> Iterator[dict[str, Any]]:
        for place in self._platform.layout.zones.values():
            if place.access_log.exists():
                for line in place.access_log.read_text(errors="replace").splitlines():
                    if request_id in line and line.endswith("}"):
                        yield json.loads(line)
