"""What one Check leaves behind while it runs: a slotted note, cheap enough for the hot path.

`recorder.Recorder` turns it into a record and into metrics, off the path. A trail keeps no body, no header and no
token; it refers to values that are small and shared.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.model import Decision, Request, Subject, Workload


class Stage(IntEnum):
    """The stages of a Check, in order."""

    PARSE = 0
    ROUTE = 1
    WORKLOAD = 2
    """Certificate validation and workload identity."""
    TOKEN = 3
    """Token verification."""
    ATTRIBUTES = 4
    POLICY = 5
    """Policy evaluation, the decision cache included."""
    EXCHANGE = 6
    """The token for the upstream, the cache included."""
    RESPOND = 7
    """Obligations and the answer's bytes."""


_UNMARKED: Final = [0] * len(Stage)


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What a record says of a route; made once a route."""

    name: str
    service: str = ""
    """The service that the route belongs to; a metric label."""
    template: str = ""
    """Path template; empty when the route is reached only by its name."""
    entrypoint: str = ""
    action: str = ""
    resource_type: str = ""


@dataclass(frozen=True, slots=True)
class ExchangeFacts:
    """What a record says of the token that the upstream got. `digest`: the first 16 hex digits of its SHA-256."""

    audience: str
    actor: str
    purpose: str
    digest: str
    token_id: str


@dataclass(frozen=True, slots=True)
class FailureFacts:
    """That a part failed and what the route's failure plan made of it. `plan`: `open` or `degrade`."""

    cause: str
    code: str
    plan: str


@dataclass(frozen=True, slots=True)
class BreakGlassFacts:
    """The grant that overrode a refusal. `overridden`: that refusal's code; `until`: the grant's end (epoch)."""

    grant: str
    ticket: str
    issued_by: str
    until: float
    overridden: str


NO_ROUTE: Final = RouteFacts("none")


def decision_id() -> str:
    """A random UUID (RFC 9562 version 4)."""
    text = os.urandom(16).hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


class Trail:
    """One Check. Whoever learns something writes it here; nothing here decides anything.

    `started`: seconds since the epoch. `ticks` gives nanoseconds on a scale that never jumps.
    """

    __slots__ = (
        "_last",
        "_ticks",
        "break_glass",
        "decision",
        "decision_cached",
        "decision_id",
        "degraded",
        "engine",
        "exchange",
        "exchange_cached",
        "failure",
        "host",
        "method",
        "mode",
        "ns",
        "parent_id",
        "path",
        "policy_input",
        "projected",
        "request_id",
        "resource_id",
        "revision",
        "route",
        "sampled",
        "source",
        "started",
        "subject",
        "token_cached",
        "trace_id",
        "traceparent",
        "transport",
        "workload",
    )

    def __init__(self, started: float, transport: str = "", ticks: Callable[[], int] = time.perf_counter_ns) -> None:
        self.decision_id = decision_id()
        self.started = started
        self.transport = transport
        self.ns = _UNMARKED.copy()
        """Nanoseconds by stage; 0: the stage was not reached."""
        self.route = NO_ROUTE
        self.method = self.host = self.path = self.request_id = self.source = self.resource_id = ""
        self.workload: Workload | None = None
        self.subject: Subject | None = None
        self.decision: Decision | None = None
        self.revision = self.engine = ""
        self.policy_input: Mapping[str, Any] | None = None
        """What the policy was asked, before any projection; only kept where denial tickets want it."""
        self.projected = b""
        """What the policy could read of it, as JSON; the bytes that the engine was asked with."""
        self.token_cached: bool | None = None
        """None: no token was looked up."""
        self.decision_cached: bool | None = None
        """None: no policy was asked."""
        self.exchange: ExchangeFacts | None = None
        self.exchange_cached: bool | None = None
        """None: no token was exchanged."""
        self.mode = ""
        """How an allow came about that is not an ordinary one: `async`, `open`, `degraded`, `break-glass`."""
        self.degraded: tuple[str, ...] = ()
        """The parts without which the policy decided; the policy was told."""
        self.failure: FailureFacts | None = None
        self.break_glass: BreakGlassFacts | None = None
        self.trace_id = self.parent_id = ""
        """The caller's trace and span (W3C Trace Context level 1), lower-case hex; empty until `trace` was called."""
        self.traceparent = ""
        """As it came; nobody has read it."""
        self.sampled = False
        self._ticks = ticks
        self._last = ticks()

    def mark(self, stage: Stage) -> None:
        """The time since the last mark belonged to `stage`."""
        now = self._ticks()
        self.ns[stage] += now - self._last
        self._last = now

    def describe(self, request: Request) -> None:
        """Keep of the request what a record may say; the query, headers and body are not among it."""
        self.method = request.method
        self.host = request.host
        self.path = request.path
        self.request_id = request.id
        self.source = request.source_address
        self.traceparent = request.headers.get(trace_context.HEADER, "")

    def trace(self) -> str:
        """The caller's trace; where it named none, the one that begins here. Fills `trace_id`, `parent_id`, `sampled`.

        Reading the header takes half a microsecond: whoever needs it does so here, mostly off the path.
        """
        if not self.trace_id:
            found = trace_context.parse(self.traceparent) if self.traceparent else None
            if found is None:
                self.trace_id = trace_context.digits(self.decision_id)
            else:
                self.trace_id, self.parent_id, self.sampled = found
        return self.trace_id

    def continued(self, stage: Stage) -> str:
        """The `traceparent` of a call that this stage makes."""
        trace = self.trace()
        span = trace_context.child_id(trace_context.span_id(self.decision_id), stage + 1)
        return trace_context.traceparent(trace, span, sampled=self.sampled)
