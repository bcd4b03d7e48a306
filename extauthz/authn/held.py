"""A token that has been judged once, and what is asked of it again each time that it is used.

A cache holds what does not change while a token lives: its signature or its issuer's answer, its form, audience,
scopes and purpose. Time, revocation, binding and the age of the sign-in change, so a hit never says more than a fresh
verification would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.authn import binding, step_up
from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from extauthz.authn.claims import Accepted
    from extauthz.authn.revocation import Revocations
    from extauthz.authn.settings import TokenRule
    from extauthz.model import Subject, Workload

EXPIRED: Final = deny("token.expired")
_EARLY: Final = deny("token.not_yet_valid")
REVOKED: Final = deny("token.revoked")


@dataclass(frozen=True, slots=True)
class Verified:
    """`upstream_seconds`: how long this Check waited for the issuer's keys."""

    subject: Subject
    cached: bool
    accepted: Accepted
    upstream_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Held:
    """`hit` is handed out as it is, so that a hit allocates nothing. `digest`: hex SHA-256 of the token."""

    hit: Verified
    accepted: Accepted
    digest: str
    kid: str
    epoch: int
    twin: str = field(default="", kw_only=True)
    """Hex SHA-256 of the other text that proves the same (`tokens.twin`); empty: there is none."""


def judge(held: Held, rule: TokenRule, workload: Workload | None, now: float, revocations: Revocations) -> Deny | None:
    """Why a held token is refused now; None when it is good.

    1. it is valid now
    2. nothing has been revoked since (looked up again whenever the revocation epoch has moved): the token, what it was
       derived from, its subject, its key; nor a workload that it names as subject, actor or holder, or its certificate
    3. the peer holds the certificate that the token is bound to
    4. the sign-in behind it is strong and recent enough for the route
    """
    accepted = held.accepted
    if now >= accepted.expires:  # 1
        return EXPIRED
    if now < accepted.not_before:  # 1
        return _EARLY
    if held.epoch != revocations.epoch and _revoked(held, revocations):  # 2
        return REVOKED
    refused = binding.check(accepted.bound_to, workload, rule.binding)  # 3
    if refused is not None:
        return refused
    return None if now < accepted.step_up_at else step_up.NEEDED  # 4


def _revoked(held: Held, revocations: Revocations) -> bool:
    """Asks the snapshot and notes the epoch, which is read first: a change in between is asked again."""
    epoch = revocations.epoch
    subject = held.hit.subject
    if revocations.token(
        digest=held.digest,
        jti=subject.token_id,
        sub=subject.id,
        kid=held.kid,
        issued_at=held.accepted.issued_at,
        ancestors=subject.ancestors,
    ):
        return True
    if held.twin and revocations.token(digest=held.twin, jti="", sub="", kid="", issued_at=0.0):
        return True
    bound_to = held.accepted.bound_to
    if revocations.any_workload((subject.id, *subject.act, *bound_to.holders, bound_to.thumbprint)):
        return True
    held.epoch = epoch
    return False
