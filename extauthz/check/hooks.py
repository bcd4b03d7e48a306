"""What a Check asks of parts that an installation may or may not have. Where one is absent, nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from extauthz.check.pipeline import Facts, Route
    from extauthz.model import Allow, Decision, Deny, Request, Subject, Workload
    from extauthz.telemetry.trail import Trail


class Admission(Protocol):
    """Sheds load before queues grow."""

    @property
    def level(self) -> float:
        """0: nobody is shed; 1, 2: all sheddable, all normal routes are."""

    def refuse(self, route: Route, request: Request) -> Deny | None:
        """`engine.overloaded` when a request of this criticality has to wait; never waits itself."""


class Quarantine(Protocol):
    """Who is refused for what was done before."""

    def refuse(self, route: str, workload: Workload | None, subject: Subject | None) -> Deny | None:
        """The denial of whoever is in quarantine for this route; never waits."""


class Judgement(Protocol):
    """Takes requests that are judged in the background."""

    async def accept(self, facts: Facts, trail: Trail, deadline: float) -> Decision | None:
        """Allow once the request is in the durable queue; a denial when it is full and the route refuses; None when
        it has to be judged now."""


class BreakGlass(Protocol):
    """Signed, time-boxed exceptions."""

    def override(self, refused: Deny, facts: Facts, trail: Trail) -> Allow | Deny:
        """An Allow when the request carries a grant that holds here, else a denial."""


class AuditTrail(Protocol):
    """The trail of records that holds up in court."""

    @property
    def healthy(self) -> bool:
        """False while records cannot be written, or too many wait."""

    async def written(self, trail: Trail, deadline: float) -> bool:
        """True once the operating system has the record of `trail`, which is then not recorded again; False when it
        cannot be written within `deadline` (monotonic seconds)."""
