"""The `http` source: values that another service knows.

1. The request is rendered (`template`); it is also the cache key, so whatever the answer may depend on is in the key.
2. A fresh answer is served without suspending.
3. Checks that need the same answer share one call, which outlives the Check that started it: a caller that goes away
   takes nobody's answer along. Calls at the same time are bounded.
4. A Check waits no longer than its deadline and the source's timeout.
5. An answer is bounded, strict JSON, and only the configured fields of it are kept.
6. A failure serves the last good answer while it is younger than `ttl + stale_if_error`, and leaves the service alone
   for a moment; otherwise → `engine.attributes_unavailable` (`engine.deadline` when no time was left to ask it).
7. Where there was no answer (no connection, no time, HTTP 502 to 504), the denial is `Away`: a plan may turn it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz import strict_json
from extauthz.attributes.template import Call, Template
from extauthz.attributes.values import Unfit, from_json
from extauthz.errors import OutboundError, SourceFault
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, away, deny
from extauthz.outbound import NOT_THERE, NoAnswer
from extauthz.strict_json import MISSING, NotStrict, Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.attributes.settings import HttpSource
    from extauthz.attributes.source import AttributeQuestion
    from extauthz.clock import Clock
    from extauthz.outbound import Response, Sends
    from extauthz.tasks import Tasks

    Waited = Callable[[str, float, bool], None]
    """Told once a call: the source's name, its seconds, and whether it gave an answer."""

_PAUSE: Final = 1.0
"""Seconds between two tries for a key whose last good answer still serves."""
_DEPTH: Final = 32
_OK: Final = 200
_NOT_FOUND: Final = 404


@dataclass(slots=True, eq=False)
class Answer:
    """Values by name, and why others cannot be used. Times are on the monotonic scale."""

    values: Mapping[str, Any]
    unusable: Mapping[str, str]
    fresh_until: float = 0.0
    stale_until: float = 0.0
    paused_until: float = 0.0


class _Away(SourceFault):
    """The service is away or too slow."""


@dataclass(slots=True, eq=False)
class HttpService:
    """One configured service: its calls and its cache, shared by every route that uses it."""

    settings: HttpSource
    outbound: Sends
    clock: Clock
    tasks: Tasks
    waited: Waited
    bearer: str = field(default="", repr=False)
    template: Template = field(init=False)
    _cache: SegmentedLru[Call, Answer] = field(init=False)
    _flights: dict[Call, asyncio.Task[Answer | SourceFault]] = field(default_factory=dict, init=False)
    _fields: tuple[tuple[str, Pointer, Callable[[Any], Any]], ...] = field(init=False)
    _headers: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.template = Template(self.settings)
        self._cache = SegmentedLru(self.settings.max_entries)
        self._fields = tuple(
            (name, Pointer(rule.source), from_json(rule)) for name, rule in self.settings.fields.items()
        )
        self._headers = {"accept": "application/json", **self.settings.headers}
        if self.settings.method == "POST":
            self._headers["content-type"] = "application/json"
        if self.bearer:
            self._headers["authorization"] = f"Bearer {self.bearer}"

    def cached(self, call: Call) -> Answer | None:
        """Step 2, and the pause of step 6."""
        known = self._cache.get(call)
        if known is None:
            return None
        now = self.clock.monotonic()
        if now < known.fresh_until or now < min(known.paused_until, known.stale_until):
            return known
        if now >= known.stale_until:
            self._cache.discard(call)
        return None

    async def answer(self, call: Call, deadline: float) -> Answer | Deny:
        """Steps 3, 4 and 6."""
        name = self.settings.name
        left = deadline - self.clock.monotonic()
        if left <= 0:
            return away("engine.deadline", f"source {name} was not asked")
        flight = self._flights.get(call)
        if flight is None:
            if len(self._flights) >= self.settings.max_concurrent:
                # Not `away`: a crowd of callers says nothing about the source, and must not turn a route's plan.
                return self._stale(call) or deny("engine.attributes_unavailable", f"source {name} is busy")
            flight = self._flights[call] = self.tasks.start(self._call(call), f"attribute source {name}")
            flight.add_done_callback(lambda _: self._flights.pop(call, None))
        wait = min(left, self.settings.timeout)
        done, _ = await asyncio.wait({flight}, timeout=None if math.isinf(wait) else wait)
        if not done:
            return self._stale(call) or away("engine.attributes_unavailable", f"source {name} did not answer in time")
        if flight.cancelled():
            return away("engine.attributes_unavailable", f"source {name} is closed")
        result = flight.result() if flight.exception() is None else SourceFault(name, "failed, see the log")
        if isinstance(result, Answer):
            return result
        refuse = away if isinstance(result, _Away) else deny
        return self._stale(call) or refuse("engine.attributes_unavailable", str(result))

    def _stale(self, call: Call) -> Answer | None:
        known = self._cache.get(call)
        now = self.clock.monotonic()
        if known is None or now >= known.stale_until:
            return None
        known.paused_until = now + _PAUSE
        return known

    async def _call(self, call: Call) -> Answer | SourceFault:
        """One call, kept when it succeeds. A fault is handed back, not raised: nobody may be left to take it."""
        settings = self.settings
        started = self.clock.monotonic()
        good = False
        try:
            response = await self.outbound.send(
                settings.method,
                call.url,
                content=call.body or None,
                headers=self._headers,
                timeout=settings.timeout,
                max_bytes=settings.max_response,
            )
            answer = self._read(response)
            good = True
        except NoAnswer as error:
            return _Away(settings.name, str(error))
        except OutboundError as error:
            return SourceFault(settings.name, str(error))
        except SourceFault as error:
            return error
        finally:
            self.waited(settings.name, self.clock.monotonic() - started, good)
        if settings.ttl:
            answer.fresh_until = started + settings.ttl
            answer.stale_until = answer.fresh_until + settings.stale_if_error
            self._cache.put(call, answer)
        return answer

    def _read(self, response: Response) -> Answer:
        """Step 5. Raises SourceFault."""
        settings = self.settings
        if response.status == _NOT_FOUND and settings.missing == "omit":
            return Answer({}, {})
        if response.status in NOT_THERE:
            raise _Away(settings.name, f"answered {response.status}")
        if response.status != _OK:
            raise SourceFault(settings.name, f"answered {response.status}")
        if "json" not in response.headers.get("content-type", "").partition(";")[0].lower():
            raise SourceFault(settings.name, "answered something else than JSON")
        try:
            root = strict_json.parse(response.body, max_bytes=settings.max_response, max_depth=_DEPTH).root
        except NotStrict as error:
            raise SourceFault(settings.name, str(error)) from None
        values: dict[str, Any] = {}
        unusable: dict[str, str] = {}
        for name, pointer, convert in self._fields:
            try:
                value = pointer.find(root)
                if value is not MISSING and value is not None:
                    values[name] = convert(value)
            except (NotStrict, Unfit) as error:
                unusable[name] = str(error)
        return Answer(values, unusable)


class HttpValues:
    """Implements `source.AttributeSource` over one service, held to the names that a route uses."""

    awaits = True
    trusted = True

    def __init__(self, service: HttpService, names: frozenset[str] | None = None) -> None:
        fields = service.settings.fields
        self._service = service
        self.name = service.settings.name
        self.names = frozenset(fields) if names is None else names
        self.path_variables = service.template.path_variables
        self._required = tuple(name for name in fields if name in self.names and fields[name].required)

    def narrow(self, names: frozenset[str]) -> HttpValues:
        return HttpValues(self._service, names)

    def ready(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny | None:
        call = self._service.template.render(question)
        if isinstance(call, Deny):
            return call
        answer = self._service.cached(call)
        return None if answer is None else self._checked(answer)

    async def fetch(self, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
        call = self._service.template.render(question)
        if isinstance(call, Deny):
            return call
        answer = self._service.cached(call) or await self._service.answer(call, question.deadline)
        return answer if isinstance(answer, Deny) else self._checked(answer)

    def _checked(self, answer: Answer) -> Mapping[str, Any] | Deny:
        if answer.unusable:
            for name in self.names & answer.unusable.keys():
                return deny("engine.attributes_unavailable", f"{self.name}.{name}: {answer.unusable[name]}")
        for name in self._required:
            if name not in answer.values:
                return deny("engine.attributes_unavailable", f"{self.name}.{name}: missing")
        return answer.values
