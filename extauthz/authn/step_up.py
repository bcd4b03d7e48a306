"""Is the sign-in behind a token strong and recent enough for a route? If not, how the caller is told (RFC 9470).

What counts is what the verified token, or its issuer's answer about it, says in `acr` and `auth_time`; a token that
does not say is treated like one that is too weak. Nothing of the request itself is ever asked.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from extauthz.model import deny

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.authn.settings import TokenRule

NEEDED: Final = deny("token.step_up")
CODE: Final = NEEDED.code
MAX_SECONDS: Final = 2**40


def good_until(claims: Mapping[str, Any], rule: TokenRule, leeway: float, now: float) -> float:
    """Seconds since the epoch up to which the sign-in satisfies `rule`; minus infinity: it never does.

    1. `acr`, where the rule names values, is one of them
    2. `auth_time`, where the rule bounds its age, is a whole number of seconds and not in the future
    """
    if rule.acr and claims.get("acr") not in rule.acr:  # 1
        return -inf
    if rule.max_age is None:
        return inf
    signed_in = claims.get("auth_time")
    if type(signed_in) is not int or not 0 <= signed_in <= min(now + leeway, MAX_SECONDS):  # 2
        return -inf
    return signed_in + rule.max_age + leeway


def parameters(rule: TokenRule | None) -> str:
    """What the challenge tells beside the error: `, acr_values="…", max_age="…"` (RFC 9470 section 3)."""
    if rule is None:
        return ""
    told = []
    if rule.acr:
        told.append(f', acr_values="{" ".join(rule.acr)}"')
    if rule.max_age is not None:
        told.append(f', max_age="{int(rule.max_age)}"')
    return "".join(told)
