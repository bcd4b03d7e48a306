"""Follows the authority's trust bundles, and tells it which version is in force here.

The poll says what everybody connected has accepted. When that changes while a poll is held open, the poll is given up
and asked anew: a new certificate authority becomes active only when all agents have acknowledged it, so nobody should
wait for the end of a poll.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from extauthz.agent.authority import Refusal
from extauthz.agent.pause import Pause
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.agent.authority import Authority
    from extauthz.agent.held import Held
    from extauthz.tasks import Tasks
    from extauthz.workload_api.identity import Identity

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 15.0


class Follower:
    def __init__(
        self,
        authority: Authority,
        held: Held,
        tasks: Tasks,
        *,
        pause: Pause | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._authority = authority
        self._held = held
        self._tasks = tasks
        self._rest = pause or Pause()
        self._jitter = jitter
        self._pause = FIRST_PAUSE

    def wake(self) -> None:
        """The identity, or what is acknowledged, may have changed."""
        self._rest.wake()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            identity = self._held.identity
            if identity is None:
                await self._rest.wait()
            elif await self._poll(identity):
                self._pause = FIRST_PAUSE
            else:
                await asyncio.sleep(self._pause * self._jitter())
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _poll(self, identity: Identity) -> bool:
        """One poll, unless it is given up; False: it brought nothing, and the next one should wait."""
        said = self._held.acknowledged()
        poll = self._tasks.start(self._asked(identity, said), "trust-poll")
        poll.add_done_callback(lambda _: self._rest.wake())
        try:
            while not poll.done():
                await self._rest.wait()
                held = self._held.identity
                if held is None or held.svid is not identity.svid or self._held.acknowledged() != said:
                    return True
            return bool(poll.result())
        finally:
            if not poll.cancelling():  # a second cancellation would hit it while it closes its connection
                poll.cancel()

    async def _asked(self, identity: Identity, said: int) -> bool:
        began = asyncio.get_running_loop().time()
        try:
            answer = await self._authority.trust(identity, said)
            if isinstance(answer, Refusal):
                log.warning("the authority refuses to say whom to trust: %s", answer)
                return False
            self._held.trust(answer)
        except ExtauthzError as error:
            log.warning("trust bundles are kept as they are: %s", error)
            return False
        # An answer without news that came at once: do not ask in a circle.
        return answer.sequence != identity.sequence or asyncio.get_running_loop().time() - began > FIRST_PAUSE
