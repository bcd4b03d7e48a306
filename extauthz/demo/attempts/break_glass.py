"""Break-glass: an exception that somebody signed, for one person, some routes, a short time, and loud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jwt

from extauthz.demo.attempts.scenario import allowed, denied
from extauthz.demo.zones import EDGE

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab

HEADER: Final = "x-break-glass"
_MINUTES: Final = 600
_REFUSED: Final = "token.break_glass"


def _grant(lab: Lab, token: str, subject: str, lifetime: float = _MINUTES, **claims: Any) -> str:
    """What `extauthz break-glass issue` prints, for a subject of the issuer of `token`; `claims` replace."""
    usual = {
        "aud": EDGE.audience,
        "sub": subject,
        "sub_iss": jwt.decode(token, options={"verify_signature": False})["iss"],
        "routes": ["read-usage"],
        "ticket": "INC-2041",
        "reason": "the operators' console is down",
        "nbf": int(lab.platform.credentials.grants.clock.now()),
    }
    return lab.platform.credentials.grants.sign(
        {**usual, **claims}, lifetime=lifetime, header={"typ": "break-glass+jwt"}
    )


async def _usage(lab: Lab, subject: str, **claims: Any) -> Answer:
    """Carol answers customers: her role reads no counts. The grant is for `subject`."""
    token = await lab.sign_in("carol")
    grant = _grant(lab, token, subject, **claims)
    return await lab.edge(token, path="/v1/usage/acme", method="GET", headers=[(HEADER, grant)])


async def granted(lab: Lab) -> Answer:
    return await _usage(lab, "carol")


def _loud(answer: Answer) -> str:
    return "" if answer.body.get("mode") == "break-glass" else "the service was not told"


async def granted_to_another(lab: Lab) -> Answer:
    return await _usage(lab, "frank")


async def granted_for_another_route(lab: Lab) -> Answer:
    return await _usage(lab, "carol", routes=["change-limit"])


async def granted_yesterday(lab: Lab) -> Answer:
    then = int(lab.platform.credentials.grants.clock.now()) - 86400
    return await _usage(lab, "carol", iat=then, nbf=then, exp=then + _MINUTES)


SCENARIOS: Final = (
    allowed("break-glass", "a signed grant opens one route for one person", granted, _loud),
    denied("break-glass-of-another", "it is another person's", 403, _REFUSED, granted_to_another),
    denied("break-glass-elsewhere", "it is for another route", 403, _REFUSED, granted_for_another_route),
    denied("break-glass-expired", "it has ended", 403, _REFUSED, granted_yesterday),
)
