"""Tokens that their issuer is asked about: opaque ones, and JWTs where a route wants more than a signature.

Laws
- Nothing but `active: true`, for an audience of the route, makes a token good; no answer makes it no better.
- "Active" is believed for at most `cache_ttl`, under the very rule that it was judged by; time, revocation, binding and
  sign-in are asked on each use (`held.judge`). "Not active" is believed shorter, and remembered apart.
- Checks that need the same answer share one question, which outlives the Check that started it.
- Questions at the same time are bounded, and so are those that wait; an issuer that fails again and again is left alone
  for a moment, and then asked by one Check alone (`breaker`). Meanwhile → `engine.introspection_unavailable`.
- Only where there was no answer is the denial `Away`: who presents a token can spoil the answer about it, and must not
  open a route with it. Nor can a crowd: a question that never had its turn says nothing about the issuer, neither to a
  route's plan nor to the breaker.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from math import isinf
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn.held import REVOKED, Held, Verified, judge
from extauthz.authn.introspection_answer import accept_answer
from extauthz.authn.introspection_client import IntrospectionClient, Send, Unusable
from extauthz.authn.tokens import digest
from extauthz.endpoint import REFUSED, BreakerSettings, Endpoint
from extauthz.errors import OutboundError
from extauthz.lru import SegmentedLru
from extauthz.model import Deny, away, deny
from extauthz.outbound import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.authn.claims import Accepted
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.settings import IssuerSettings, TokenRule
    from extauthz.clock import Clock
    from extauthz.model import Workload
    from extauthz.tasks import Tasks

    Asked = Callable[[float, bool], None]
    """Told after each question: its seconds, and whether there was an answer."""

log = logging.getLogger(__name__)
WAITING: Final = 8
"""Questions that may wait for their turn, as a multiple of those at the same time."""
INACTIVE: Final = deny("token.inactive")
_UNAVAILABLE: Final = "engine.introspection_unavailable"


@dataclass(slots=True, eq=False)
class _Active(Held):
    until: float
    """Monotonic; believed up to then."""


class Introspector:
    """One issuer that is asked about tokens. Raises ConfigError when made with a client secret that cannot be had."""

    def __init__(
        self,
        issuer: IssuerSettings,
        send: Send,
        revocations: Revocations,
        clock: Clock,
        tasks: Tasks,
        asked: Asked = lambda _seconds, _good: None,
        endpoint: Endpoint | None = None,
    ) -> None:
        """`endpoint` None: one of its own, with the usual breaker."""
        if issuer.introspection is None:
            raise AssertionError("the issuer has no introspection")
        self.issuer = issuer
        self._settings = issuer.introspection
        self._client = IntrospectionClient(issuer.introspection, send)
        self._revocations = revocations
        self._clock = clock
        self._tasks = tasks
        self._asked = asked
        self._active: SegmentedLru[bytes, _Active] = SegmentedLru(self._settings.cache_entries)
        self._inactive: SegmentedLru[bytes, float] = SegmentedLru(self._settings.refused_entries)
        self._flights: dict[bytes, asyncio.Task[dict[str, Any] | Deny]] = {}
        self._turns: set[bytes] = set()
        """Flights that have had their turn."""
        self._slots = asyncio.Semaphore(self._settings.max_concurrent)
        timeout = issuer.introspection.timeout
        self._endpoint = endpoint or Endpoint(issuer.name, BreakerSettings(), clock, timeout=timeout)

    def cached(
        self, token: str, rule: TokenRule, workload: Workload | None, local: Accepted | None = None
    ) -> Verified | Deny | None:
        """What is known of this token under this rule, without suspending; None: ask `verify`.

        `local`: what a JWT says by itself, already judged. A token without it is opaque, and never shares an entry.
        """
        return self._known(_key(token, rule, local), rule, workload)

    async def verify(
        self,
        token: str,
        rule: TokenRule,
        workload: Workload | None,
        deadline: float,
        local: Accepted | None = None,
    ) -> Verified | Deny:
        """Who the token speaks for, or why it is refused. `deadline`: monotonic; it may be infinite.

        1. what is known needs no question
        2. the token looks like one of this issuer's, and is not known to be inactive
        3. the issuer's answer is waited for, no longer than its timeout and the Check's deadline; where there is none,
           a token that was revoked by its digest is refused all the same
        4. the answer is judged like claims (`introspection_answer`)
        5. what is asked on every use: revocation, binding, sign-in (`held.judge`)
        """
        key = _key(token, rule, local)
        known = self._known(key, rule, workload)  # 1
        if known is not None:
            return known
        if local is None and not token.startswith(self._settings.prefix):  # 2
            return deny("token.malformed", "not a JWT, and not one of the issuer's opaque tokens")
        asked_at = self._clock.monotonic()
        answer = await self._answer(token, deadline)  # 2, 3
        hashed = digest(token).hex()
        if isinstance(answer, Deny):
            revoked = self._revocations.token(digest=hashed, jti="", sub="", kid="", issued_at=0.0)
            return REVOKED if revoked else answer
        now = self._clock.now()
        accepted = accept_answer(answer, self.issuer, rule, now, hashed, local)  # 4
        if isinstance(accepted, Deny):
            return accepted
        held = _Active(
            hit=Verified(accepted.subject, cached=True, accepted=accepted),
            accepted=accepted,
            digest=hashed,
            kid="",
            epoch=-1,
            until=asked_at + self._settings.cache_ttl,
        )
        refused = judge(held, rule, workload, now, self._revocations)  # 5
        if held.epoch >= 0 and self._settings.cache_ttl:  # not revoked: the rest is asked again on each hit
            self._active.put(key, held)
        return refused or Verified(accepted.subject, cached=False, accepted=accepted)

    def _known(self, key: bytes, rule: TokenRule, workload: Workload | None) -> Verified | Deny | None:
        held = self._active.get(key)
        if held is None:
            return None
        if self._clock.monotonic() >= held.until:
            self._active.discard(key)
            return None
        return judge(held, rule, workload, self._clock.now(), self._revocations) or held.hit

    async def _answer(self, token: str, deadline: float) -> dict[str, Any] | Deny:
        """Steps 2 and 3. The members of an active answer, which are read-only: others may have them, too."""
        hashed = digest(token)
        now = self._clock.monotonic()
        if deadline <= now:
            return away("engine.deadline", "the issuer was not asked")
        until = self._inactive.get(hashed)
        if until is not None:
            if now < until:
                return INACTIVE
            self._inactive.discard(hashed)
        flight = self._flights.get(hashed)
        if flight is None:
            started = self._start(token, hashed, now)
            if isinstance(started, Deny):
                return started
            flight = started
        left = deadline - now
        # Waited for, not awaited: a Check that goes away takes nobody's answer along.
        done, _ = await asyncio.wait({flight}, timeout=None if isinf(left) else left)
        if not done:
            late = away("engine.deadline", f"issuer {self.issuer.name} did not answer in time")
            return late if hashed in self._turns else self._crowded()
        if flight.cancelled() or flight.exception() is not None:
            return self._unavailable("the question was dropped, see the log")
        return flight.result()

    def _start(self, token: str, hashed: bytes, now: float) -> asyncio.Task[dict[str, Any] | Deny] | Deny:
        """A new question; a denial when it would be one too many."""
        if len(self._flights) >= self._settings.max_concurrent * (1 + WAITING):
            return self._crowded()
        ticket = self._endpoint.breaker.admit(now)
        if ticket == REFUSED:
            return self._unavailable("left alone after failures")
        flight = self._flights[hashed] = self._tasks.start(self._ask(token, hashed, ticket), "introspection")
        flight.add_done_callback(lambda _: self._ended(hashed))
        return flight

    def _ended(self, hashed: bytes) -> None:
        self._flights.pop(hashed, None)
        self._turns.discard(hashed)

    async def _ask(self, token: str, hashed: bytes, ticket: int) -> dict[str, Any] | Deny:
        """One question. A fault is handed back, not raised: nobody may be left to take it."""
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout), self._slots:
                self._turns.add(hashed)
                answer = await self._client.ask(token, self._settings.timeout)
        except (NoAnswer, TimeoutError) as error:
            if hashed not in self._turns:
                self._endpoint.breaker.untold(ticket)
                return self._crowded()
            self._endpoint.failed(ticket)
            return self._unavailable(self._failed(str(error) or "no answer in time", started))
        except (OutboundError, Unusable) as error:
            self._endpoint.answered(ticket, self._clock.monotonic() - started)
            return deny(_UNAVAILABLE, f"issuer {self.issuer.name}: {self._failed(str(error), started)}")
        except BaseException:
            self._endpoint.breaker.untold(ticket)
            raise
        seconds = self._clock.monotonic() - started
        self._endpoint.answered(ticket, seconds)
        self._asked(seconds, True)  # noqa: FBT003 - the shape of Asked
        if answer is None:
            self._inactive.put(hashed, started + self._settings.negative_ttl)
            return INACTIVE
        return answer

    def _failed(self, problem: str, started: float) -> str:
        log.warning("issuer %s: introspection failed: %s", self.issuer.name, problem)
        self._asked(self._clock.monotonic() - started, False)  # noqa: FBT003 - the shape of Asked
        return problem

    def _crowded(self) -> Deny:
        return deny(_UNAVAILABLE, f"issuer {self.issuer.name}: too many questions are waiting")

    def _unavailable(self, why: str) -> Deny:
        return away(_UNAVAILABLE, f"issuer {self.issuer.name}: {why}")


def _key(token: str, rule: TokenRule, local: Accepted | None) -> bytes:
    """SHA-256 of the token and the rule, which holds the audiences; what is known of a JWT never serves as opaque."""
    return digest(token) + rule.fingerprint + (b"" if local is None else b"jwt")
