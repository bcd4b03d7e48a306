"""The agent: where its parts meet. One workload, one identity, one Unix socket.

1. The socket is served from the first moment; until something was attested, SDS stays silent and the Workload API says
   that there is no identity, so that Envoy and workloads may start in any order.
2. `Renewal` keeps the certificate fresh, `Follower` the trust bundles; `Held` is what both work on.
3. Ready (health, the log line) means that there is a certificate which has not ended.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from extauthz.agent.attest import evidence
from extauthz.agent.authority import Authority
from extauthz.agent.follow import Follower
from extauthz.agent.held import Held
from extauthz.agent.http import AgentHttp, AgentMetrics
from extauthz.agent.renew import Renewal
from extauthz.agent.server import SERVICES, AgentServer
from extauthz.agent.tokens import JwtSvidKeeper
from extauthz.sds.server import SecretServer
from extauthz.tasks import Tasks
from extauthz.transport import choose
from extauthz.transport.health import Health
from extauthz.workload_api.server import WorkloadApi

if TYPE_CHECKING:
    from extauthz.agent.settings import AgentSettings
    from extauthz.clock import Clock

log = logging.getLogger(__name__)

TICK: Final = 1.0
GRACE: Final = 0.5
"""Seconds for calls in flight at the end; streams never end by themselves."""


class Agent:
    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._settings = settings
        self._tasks = Tasks()
        self._health = Health(SERVICES)
        self._ready = False
        self._ended = ExitStack()
        authority = Authority(settings, clock)
        self.sds = SecretServer(self._tasks, settings.aliases, self._progress)
        self._tokens = JwtSvidKeeper(authority, lambda: self.held.identity, clock, self._tasks)
        self.api = WorkloadApi(self._tokens, clock, self._progress)
        self.held = Held(clock, self.sds, self.api, self._changed)
        self._renewal = Renewal(settings, authority, evidence(settings.attestation), self.held, clock)
        self._follower = Follower(authority, self.held, self._tasks)
        methods = {**self.sds.methods(), **self.api.methods()}
        self._server = AgentServer(methods, self._health, settings.socket, int(settings.socket_mode, 8))

    async def start(self) -> None:
        """Serves from now on. Raises ExtauthzError when an address cannot be had."""
        await self._server.start()
        if self._settings.http is not None:
            listening = await asyncio.to_thread(choose.listen, self._settings.http)
            self._ended.callback(listening.close)
            http = AgentHttp(AgentMetrics(self.held, self.sds, self.api))
            self._tasks.start(http.serve_on(listening), "http")
        log.info("listening: socket %s, authority %s", self._settings.socket, self._settings.authority)
        self._tasks.start(self._renewal.run(), "renewal")
        self._tasks.start(self._follower.run(), "trust")
        self._tasks.start(self._tick(), "expiry")

    async def stop(self) -> None:
        self._health.set(serving=False)
        await self._server.stop(GRACE)
        await self._tasks.close()
        self._ended.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.held.expire()

    def _progress(self) -> None:
        self._follower.wake()

    def _changed(self) -> None:
        identity = self.held.identity
        self._health.set(serving=identity is not None)
        if identity is not None and not self._ready:
            log.info("ready: %s on %s", identity.svid.spiffe_id, self._settings.socket)
        self._ready = identity is not None
        self._follower.wake()
        self._renewal.wake()
