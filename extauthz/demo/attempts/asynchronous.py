"""Asynchronous judgement: what an app notices is taken at once, and judged afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.attempts.scenario import allowed, denied
from extauthz.demo.lab import Answer
from extauthz.demo.zones import EDGE

if TYPE_CHECKING:
    from extauthz.demo.lab import Lab

_PATIENCE: Final = 10.0
_POLL: Final = 0.05
_TAKEN: Final = 202
_REFUSED: Final = 403
_STRIKES: Final = 2
_SERVER: Final = f"{EDGE.name}.extauthz"


async def _event(lab: Lab, token: str, tenant: str = "acme") -> Answer:
    content: dict[str, Any] = {"tenant": tenant, "name": "screen-opened"}
    return await lab.edge(token, content, path="/v1/events")


async def event(lab: Lab) -> Answer:
    return await _event(lab, await lab.sign_in())


def _at_once(answer: Answer) -> str:
    return "" if answer.body.get("mode") == "async" else "it was not let through as asynchronous"


async def event_for_another(lab: Lab) -> Answer:
    """The policy would refuse it, and will."""
    return await _event(lab, await lab.sign_in(), "globex")


async def _violated(lab: Lab) -> tuple[str, Answer]:
    """A token that has violated the policy as often as it takes, and the answer to an honest event of it."""
    token = await lab.sign_in()
    for _ in range(_STRIKES):
        answer = await _event(lab, token, "globex")
        if answer.status != _TAKEN:
            return token, answer
    return token, await _until(lab, token, _REFUSED)


async def _until(lab: Lab, token: str, status: int) -> Answer:
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _PATIENCE
    while True:
        answer = await _event(lab, token)
        if answer.status == status or clock.time() > deadline:
            return answer
        await asyncio.sleep(_POLL)


async def quarantined(lab: Lab) -> Answer:
    _, answer = await _violated(lab)
    return answer


async def released(lab: Lab) -> Answer:
    """An operator looks who is in quarantine, and ends it."""
    token, answer = await _violated(lab)
    if answer.status != _REFUSED:
        return Answer(answer.status, code="not in quarantine")
    digest = hashlib.sha256(token.encode()).hexdigest()[:16]
    _, listed = await lab.platform.operate(_SERVER, "quarantine", "list", "--json", "--config", "{config}")
    (name,) = [one["id"] for one in json.loads(listed) if one["value"] == digest]
    await lab.platform.operate(_SERVER, "quarantine", "release", name, "--config", "{config}")
    return await _until(lab, token, _TAKEN)


SCENARIOS: Final = (
    allowed("event", "an app's event is taken at once, to be judged later", event, _at_once, status=_TAKEN),
    allowed("event-for-another", "so is one that the policy refuses", event_for_another, _at_once, status=_TAKEN),
    denied("quarantine", "after two of them the token reports nothing", _REFUSED, "token.quarantined", quarantined),
    allowed("quarantine-released", "until an operator releases it", released, _at_once, status=_TAKEN),
)
