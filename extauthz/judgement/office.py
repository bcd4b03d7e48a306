"""Asynchronous judgement in one worker: intake, judge, quarantines and alerts around one queue.

It outlives reloads as long as its settings stay: what waits is judged by the desk that was put in last.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from extauthz.judgement.alerts import Alerts
from extauthz.judgement.confined import Confined
from extauthz.judgement.intake import Intake
from extauthz.judgement.judge import Judge
from extauthz.judgement.opening import open_queue
from extauthz.outbound import Outbound
from extauthz.store.store import StoreError
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.judgement.alerts import Fate
    from extauthz.judgement.judge import Desk
    from extauthz.judgement.queue import Queue, State, Waiting
    from extauthz.judgement.settings import JudgementSettings

log = logging.getLogger(__name__)
_LOOK: Final = 0.5
"""Seconds between two looks at the queue's state: its length, its lag, and quarantines that others began or ended."""


class Office:
    """`busy`: whether Checks are in flight. `alerted` counts the fate of alerts. `random`: 0 ≤ x < 1."""

    def __init__(
        self,
        settings: JudgementSettings,
        queue: Queue,
        clock: Clock,
        *,
        busy: Callable[[], bool],
        random: Callable[[], float],
        alerts: Alerts | None = None,
    ) -> None:
        self.settings = settings
        self.confined = Confined(clock)
        self.alerts = alerts
        self._queue = queue
        self._clock = clock
        self._judge = Judge(queue, settings, clock, busy=busy, begun=self.confined.add, random=random)
        self._intake = Intake(queue, clock, self._judge.arrived)
        self._tasks = Tasks()
        self._state: State | None = None
        self._started = False

    @classmethod
    async def open(
        cls,
        settings: JudgementSettings,
        clock: Clock,
        *,
        busy: Callable[[], bool],
        random: Callable[[], float],
        alerted: Callable[[Fate], None],
        verify: ssl.SSLContext | bool = True,
    ) -> Office:
        """Nothing runs yet. Raises ConfigError."""
        queue = await asyncio.to_thread(open_queue, settings, clock)
        alerts = None
        if settings.alert is not None:
            outbound = Outbound([settings.alert.url], verify=verify)
            alerts = Alerts(settings.alert, outbound, counted=alerted, random=random)
        return cls(settings, queue, clock, busy=busy, random=random, alerts=alerts)

    async def start(self) -> None:
        """Again: nothing. Never fails: a queue that does not answer is asked again."""
        if self._started:
            return
        self._started = True
        await self.confined.first(self._queue)
        self._intake.start(self._tasks)
        self._judge.start(self._tasks)
        self._tasks.start(self._follow(), "judgement state")
        if self.alerts is not None:
            self.alerts.start(self._tasks)

    def use(self, desk: Desk | None) -> None:
        """From now on `desk` judges, and tells what was judged; None: others do, for example under new settings."""
        self._judge.use(desk)

    async def put(self, entry: Waiting, seconds: float) -> bool:
        """Whether the queue holds `entry`; False after `seconds`, when it is full, or when it fails."""
        return await self._intake.put(entry, seconds)

    def gauges(self) -> dict[str, Callable[[], Mapping[tuple[str, ...], float]]]:
        """Where to ask for each gauge of ours when scraped; without a series while the queue does not answer."""
        return {
            "extauthz_judgement_queue": lambda: {} if self._state is None else {(): self._state.waiting},
            "extauthz_judgement_lag_seconds": lambda: {} if self._state is None else {(): self.lag},
            "extauthz_quarantines": lambda: {(kind,): count for kind, count in self.confined.numbers.items()},
        }

    @property
    def lag(self) -> float:
        """Seconds for which the oldest entry has waited."""
        state = self._state
        return 0.0 if state is None or state.oldest is None else max(self._clock.now() - state.oldest, 0.0)

    async def close(self) -> None:
        """What waits stays in the queue for the next start."""
        await self._tasks.close()
        await self._judge.close()
        if self.alerts is not None:
            await self.alerts.close()
        await self._queue.close()

    async def _follow(self) -> None:
        while True:
            try:
                state = await self._queue.state()
                await self.confined.follow(self._queue, state)
                self._state = state
            except StoreError as error:
                if self._state is not None:
                    log.warning("the judgement queue does not answer: %s", error)
                self._state = None
            await asyncio.sleep(_LOOK)
