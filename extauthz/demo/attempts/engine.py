"""Layer `engine`: a part of ours is gone. Nothing is let through meanwhile, and it comes back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.allowed import own_rows, transfer
from extauthz.demo.attempts.scenario import allowed, denied
from extauthz.demo.zones import EDGE, MODEL, STORAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.demo.lab import Answer, Lab

_PATIENCE: Final = 15.0
"""Seconds that a part may take to come back."""
_AGAIN: Final = 0.1


async def _eventually(attempt: Callable[[Lab], Awaitable[Answer]], lab: Lab, status: int) -> Answer:
    """Tried again until it is answered with `status`, as long as our patience lasts; the last answer."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _PATIENCE
    while True:
        answer = await attempt(lab)
        if answer.status == status or clock.time() > deadline:
            return answer
        await asyncio.sleep(_AGAIN)


async def opa_paused(lab: Lab) -> Answer:
    await lab.platform.pause_opa(EDGE)
    try:
        return await transfer(lab)
    finally:
        await lab.platform.resume_opa(EDGE)


async def usage_without_opa(lab: Lab) -> Answer:
    """The route's plan is `degrade`: the last good policy decides in the server itself."""
    return await _without_opa(lab, "alice")


async def usage_without_opa_nor_role(lab: Lab) -> Answer:
    return await _without_opa(lab, "carol")


async def _without_opa(lab: Lab, user: str) -> Answer:
    token = await lab.sign_in(user)
    await lab.platform.pause_opa(EDGE)
    try:
        return await lab.edge(token, path="/v1/usage/acme", method="GET")
    finally:
        await lab.platform.resume_opa(EDGE)


def _degraded(answer: Answer) -> str:
    return "" if answer.body.get("mode") == "degraded" else "the service was not told"


async def opa_killed(lab: Lab) -> Answer:
    await lab.platform.kill_opa(EDGE)
    return await transfer(lab)


async def opa_back(lab: Lab) -> Answer:
    await lab.platform.revive_opa(EDGE)
    return await transfer_again(lab)


async def transfer_again(lab: Lab) -> Answer:
    return await _eventually(transfer, lab, 201)


async def server_killed(lab: Lab) -> Answer:
    """The last zone's authorization server is gone; the refusal comes from its Envoy, and through all zones."""
    await lab.platform.kill(f"{STORAGE.name}.extauthz")
    return await transfer(lab)


async def server_back(lab: Lab) -> Answer:
    await lab.platform.restart(f"{STORAGE.name}.extauthz")
    return await _eventually(transfer, lab, 201)


async def source_down(lab: Lab) -> Answer:
    await lab.platform.kill("catalogue")
    try:
        return await lab.features(lab.svid(MODEL), lab.hop(MODEL, STORAGE))
    finally:
        await lab.platform.restart("catalogue")


async def source_back(lab: Lab) -> Answer:
    return await _eventually(own_rows, lab, 200)


async def authority_down(lab: Lab) -> Answer:
    """Every identity, key and exchanged token that is known serves on."""
    token = await lab.sign_in()
    before = await lab.edge(token, lab.transfer())
    if before.status != 201:  # noqa: PLR2004 - without it nothing is shown
        return before
    await lab.platform.kill("authority")
    try:
        return await lab.edge(token, lab.transfer())
    finally:
        await lab.platform.restart("authority")


async def authority_back(lab: Lab) -> Answer:
    """A new user's token is exchanged again at each hop."""

    async def attempt(lab: Lab) -> Answer:
        return await lab.edge(await lab.sign_in(), lab.transfer())

    return await _eventually(attempt, lab, 201)


SCENARIOS: Final = (
    denied("opa-paused", "the edge's OPA does not answer", 503, "engine.deadline", opa_paused),
    allowed("opa-resumed", "and answers again", transfer_again, status=201),
    allowed(
        "usage-without-opa", "where the plan is to degrade, the last good policy decides", usage_without_opa, _degraded
    ),
    denied("usage-without-opa-nor-role", "rightly", 403, "role.permission_missing", usage_without_opa_nor_role),
    denied("opa-killed", "the edge's OPA is killed", 503, "engine.unavailable", opa_killed),
    allowed("opa-restarted", "its supervisor starts another one", opa_back, status=201),
    denied("server-killed", "storage's authorization server is killed", 503, "engine.unavailable", server_killed),
    allowed("server-restarted", "and started again", server_back, status=201),
    denied("source-down", "the attribute source does not answer", 503, "engine.attributes_unavailable", source_down),
    allowed("source-back", "and answers again", source_back),
    allowed("authority-down", "the authority is gone: what was issued serves on", authority_down, status=201),
    allowed("authority-back", "and issues again", authority_back, status=201),
)
