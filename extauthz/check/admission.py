"""Admission: what is shed, and when, so that critical routes stay fast while others are refused early.

Three things grow when a worker gets more than it can do, and all are measured here, in the worker itself:

1. The loop's queue. A probe goes to the end of the queue of callbacks and tells how long it waited there, which is
   what the next Check waits, several times. When even the luckiest probe of an interval waited longer than `target`
   (CoDel's rule: a queue that stands, not a burst), the level rises by how far it is off; else it falls, slowly at
   first and faster the longer all is calm, so that the level stays close to where it has to be.
2. The engine's queue: questions that wait for an answer while the engine gives others. More than `engine` of them all
   through an interval are a queue that stands as well; it raises the level too, but never sheds critical routes. An
   engine that hardly answers is not overloaded but away: that is for breakers and failure plans.
3. Checks in flight, whatever they wait for. Sheddable routes may fill a quarter of `in_flight`, normal ones a half,
   critical ones all of it: there is room left for who matters more, also while nothing is answered at all.

The level says which share of which class is refused: of 0.3 every third sheddable request, of 1.5 all of these and
every second normal one, above 2 critical ones as well. Shares are dealt out evenly, never by chance, and so are the
seconds after which the refused may come back.

Nothing here waits. A Check that comes on costs a look at the clock and two comparisons.
Sources: Nichols and Jacobson, Controlling Queue Delay (ACM Queue 2012); docs/adr/0014-admission.md has the rest.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.model import Deny, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.check.pipeline import Route
    from extauthz.clock import Clock
    from extauthz.model import Request
    from extauthz.telemetry.metrics import Metrics

SHEDDABLE, NORMAL, CRITICAL = range(3)
RANKS: Final = {"sheddable": SHEDDABLE, "normal": NORMAL, "critical": CRITICAL}
"""Who goes first is the lowest."""
NAMES: Final = tuple(RANKS)
SHARES: Final = (0.25, 0.5, 1.0)
"""Of `in_flight`, by rank."""
PERIOD: Final = 0.002
"""Seconds between two probes, at least."""
INTERVAL: Final = 0.05
"""Seconds that a queue has to stand before anything is shed for it."""
COVERED: Final = 0.5
"""The part of the interval in which a probe has to have waited: a pause that one of few probes met is no queue."""
MOST_FOR_ENGINE: Final = 2.0
"""The highest level for the engine's queue alone."""
MOST: Final = 2.95
"""The highest level: some critical requests always come on, and tell when the queue is gone."""
UP: Final = 0.1
MOST_UP: Final = 0.4
DOWN: Final = 0.002
MOST_DOWN: Final = 0.05
"""Steps of the level: up by `UP` for each `target` of waiting, down by `DOWN` more each calm interval."""
ANSWERS: Final = 0.5
"""Answers of an interval, as a part of `engine`, below which the engine is slow or away, not overloaded."""
FORGOTTEN: Final = 2.0
"""Seconds without a Check after which nothing is known of the load."""
OVERLOADED: Final = "engine.overloaded"
_LATER: Final = (1.0, 3.0, 2.0, 4.0)
"""Seconds after which the refused may ask again: dealt out in turn, so they do not all come at once."""
_LAGGING: Final = tuple(
    Deny((Reason(OVERLOADED, detail="a queue stands, the worker's or the engine's"),), s) for s in _LATER
)
_FULL: Final = tuple(Deny((Reason(OVERLOADED, detail="too many Checks in flight"),), s) for s in _LATER)


class Load(Protocol):
    """What is asked of the engine (`policy_stage.PolicyStage`)."""

    @property
    def asking(self) -> int: ...

    @property
    def answered(self) -> int: ...


class Admission:
    """Implements `hooks.Admission` for one worker.

    `in_flight`: Checks; `target`: seconds; `engine`: questions. `later` puts a call at the end of the loop's queue
    (`loop.call_soon`).
    """

    __slots__ = (
        *("_answered", "_asked", "_calm", "_clock", "_engine", "_fewest", "_first", "_later", "_least"),
        *("_level", "_load", "_metrics", "_next"),
        *("_owed", "_room", "_since", "_target", "_turn", "_waited"),
    )

    def __init__(
        self,
        in_flight: int,
        target: float,
        engine: int,
        *,
        load: Load,
        metrics: Metrics,
        clock: Clock,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._room = tuple(max(1, round(in_flight * share)) for share in SHARES)
        self._target = target
        self._engine = engine
        self._load = load
        self._metrics = metrics
        self._clock = clock
        self._later = later
        self._level = 0.0
        self._owed = [0.0] * len(RANKS)
        """What each class has coming to it, below one request."""
        self._turn = 0
        self._next = 0.0
        self._asked: float | None = None
        """When the probe under way was sent."""
        self._since = clock.monotonic()
        self._least = inf
        """The shortest wait of the interval so far …"""
        self._waited = 0.0
        """… and all its waits together."""
        self._fewest: float = inf
        """The fewest questions at the engine that a probe has met."""
        self._first: float | None = None
        """When the interval's first probe landed."""
        self._answered = 0
        """The engine's answers before the interval."""
        self._calm = 0

    @property
    def level(self) -> float:
        """0: nobody is refused for the queue; 1, 2: all sheddable, all normal routes are; 3 would be everyone."""
        return 0.0 if self._clock.monotonic() - self._since > FORGOTTEN else self._level

    def refuse(self, route: Route, request: Request) -> Deny | None:  # noqa: ARG002 - the hook's shape
        """The denial of a request that is shed now; None: it comes on."""
        now = self._clock.monotonic()
        if now >= self._next:
            self._probe(now)
        rank = route.rank
        if self._metrics.in_flight > self._room[rank]:
            return self._shed(route, _FULL)
        if self._level > rank:
            owed = self._owed[rank] + min(self._level - rank, 1.0)
            if owed >= 1.0:
                self._owed[rank] = owed - 1.0
                return self._shed(route, _LAGGING)
            self._owed[rank] = owed
        return None

    def _shed(self, route: Route, dealt: tuple[Deny, ...]) -> Deny:
        self._turn = (self._turn + 1) % len(dealt)
        self._metrics.count("extauthz_shed_total", route.facts.name, NAMES[route.rank])
        return dealt[self._turn]

    def _probe(self, now: float) -> None:
        self._next = now + PERIOD
        if self._asked is not None:  # the one under way will tell of a longer wait
            return
        if now - self._since > FORGOTTEN:
            self._level = 0.0
            self._begin(now)
        self._asked = now
        self._later(self._landed)

    def _landed(self) -> None:
        now = self._clock.monotonic()
        waited = 0.0 if self._asked is None else now - self._asked
        self._asked = None
        self._least = min(self._least, waited)
        self._waited += waited
        self._fewest = min(self._fewest, self._load.asking)
        if self._first is None:
            self._first = now
        spent = now - self._since
        if spent >= INTERVAL:
            self._judge(spent, now)
            self._begin(now)

    def _judge(self, spent: float, now: float) -> None:
        """One interval is over: 1 the loop's queue, 2 the engine's."""
        excess = most = 0.0
        if self._least > self._target and self._waited >= spent * COVERED:  # 1
            excess, most = self._least / self._target, MOST
        elif self._fewest > self._engine and self._answering(now):  # 2
            excess, most = self._fewest / self._engine, max(MOST_FOR_ENGINE, self._level)
        if excess:
            self._calm = 0
            self._level = min(most, self._level + min(MOST_UP, UP * excess))
            return
        intervals = int(spent / INTERVAL)
        self._calm += intervals
        self._level = max(0.0, self._level - intervals * min(MOST_DOWN, DOWN * self._calm))

    def _answering(self, now: float) -> bool:
        """Whether we looked for long enough to call it a queue, and the engine answered in the meantime."""
        looked = 0.0 if self._first is None else now - self._first
        return looked >= INTERVAL * COVERED and self._load.answered - self._answered >= self._engine * ANSWERS

    def _begin(self, now: float) -> None:
        self._since = now
        self._least = inf
        self._waited = 0.0
        self._fewest = inf
        self._first = None
        self._answered = self._load.answered
