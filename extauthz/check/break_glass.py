"""Break-glass in a Check: a grant may stand in for the policy's yes, never for who asks.

1. Only a refusal of the policy's layers `role` and `attribute`, or of an engine or attribute source that is away or
   too slow, is overridden, on a route with `break_glass: true` (the pipeline asks us on no other). What workload,
   transport, token, quarantine and revocations refuse stands: those steps come before, and a policy that answers with
   one of their codes is not overridden either.
2. Without the header the refusal stands as it is.
3. The grant comes in exactly one header, of bounded size, beside a credential of the caller's own that somebody
   answers for; it is verified anew each time (`authn.break_glass`), and nothing that follows from it is kept.
4. A grant that counts its uses has one left; it is taken before anything is allowed.
5. A grant that does not hold here is refused with `token.break_glass`: why, and what had been refused before, are for
   operators. Used or refused, it is in the record, in the audit trail, in a metric and in the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from extauthz.authn.break_glass import MAX_GRANT
from extauthz.bucket import Bucket
from extauthz.model import Allow, Deny, Layer, Reason
from extauthz.telemetry.trail import BreakGlassFacts

if TYPE_CHECKING:
    from extauthz.authn.break_glass import Grant, Grants
    from extauthz.authn.break_glass_uses import Uses
    from extauthz.check.pipeline import Facts
    from extauthz.clock import Clock
    from extauthz.telemetry.metrics import Metrics
    from extauthz.telemetry.trail import Trail

log = logging.getLogger(__name__)
HEADER: Final = "x-break-glass"
MODE: Final = "break-glass"
_LAYERS: Final = frozenset({Layer.ROLE, Layer.ATTRIBUTE})
_AWAY: Final = frozenset({"engine.unavailable", "engine.deadline", "engine.attributes_unavailable"})
_NEVER: Final = frozenset({"attribute.tenant_quarantined"})
_ALLOW: Final = Allow(ttl=0.0)
_LINES: Final = 10.0
"""Log lines at once …"""
_LINES_PER_SECOND: Final = 1.0
"""… and from then on: the log is for people, the record has each use."""


class BreakGlass:
    """Implements `hooks.BreakGlass`."""

    def __init__(self, grants: Grants, uses: Uses, *, metrics: Metrics, clock: Clock) -> None:
        self._grants = grants
        self._uses = uses
        self._metrics = metrics
        self._clock = clock
        self._lines = Bucket(_LINES, clock.monotonic())
        self._untold = 0

    def override(self, refused: Deny, facts: Facts, trail: Trail) -> Allow | Deny:
        """Steps 1 to 5 of the module's docstring."""
        if not overridable(refused):  # 1
            return refused
        request, route, subject = facts.request, facts.route, facts.subject
        if request is None or route is None or HEADER not in request.headers:  # 2
            return refused
        found: Grant | str
        text = request.headers[HEADER]
        if HEADER in request.duplicated_headers or "," in text:  # 3: no grant has a comma; joined headers do
            found = "more than one grant"
        elif len(text) > MAX_GRANT:
            found = f"longer than {MAX_GRANT} characters"
        elif subject is None:
            found = "no credential stands beside it"
        else:
            found = self._grants.verify(text, route.facts.name, subject)
            if not isinstance(found, str) and not self._uses.take(found, self._clock.now()):  # 4
                found = f"grant {found.id} has no use left"
        if isinstance(found, str):
            return self._refused(found, refused, facts)  # 5
        return self._used(found, refused, facts, trail)  # 5

    def _used(self, grant: Grant, refused: Deny, facts: Facts, trail: Trail) -> Allow:
        trail.mode = MODE
        trail.break_glass = BreakGlassFacts(grant.id, grant.ticket, grant.kid, float(grant.expires), refused.code)
        self._told("used", facts, f"grant {grant.id!r}, ticket {grant.ticket!r}, over {refused.code}")
        return _ALLOW

    def _refused(self, why: str, refused: Deny, facts: Facts) -> Deny:
        self._told("refused", facts, f"{why}; stands: {refused.code}")
        return Deny((Reason("token.break_glass", detail=f"{why} (refused before: {refused.code})"), *refused.reasons))

    def _told(self, outcome: str, facts: Facts, what: str) -> None:
        route = "" if facts.route is None else facts.route.facts.name
        self._metrics.count("extauthz_break_glass_total", route, outcome)
        if self._lines.take(self._clock.monotonic(), _LINES, _LINES_PER_SECOND):
            self._untold += 1
            return
        who = "nobody" if facts.subject is None else repr(facts.subject.id)
        untold, self._untold = self._untold, 0
        more = f" (and {untold} more, see the records)" if untold else ""
        log.warning("break-glass %s on route %s by %s: %s%s", outcome, route, who, what, more)


def overridable(refused: Deny) -> bool:
    """Step 1."""
    if refused.code in _AWAY:
        return True
    codes = [reason.code for reason in refused.reasons]  # one of another layer among them stands
    return _NEVER.isdisjoint(codes) and all(reason.layer in _LAYERS for reason in refused.reasons)
