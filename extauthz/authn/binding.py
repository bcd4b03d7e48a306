"""Certificate-bound tokens: `cnf` against the peer that presents the token (RFC 8705 section 3, RFC 7800).

A binding that we cannot check is refused, never ignored: its issuer meant the token for one holder.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from extauthz.model import Workload

X5T: Final = "x5t#S256"
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")

MISMATCH: Final = deny("transport.binding_mismatch")
MISSING: Final = deny("transport.binding_missing")

BindingRule = Literal["required", "if_present", "received"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a token is bound to. `thumbprint`: its `x5t#S256`, empty when it is not bound.

    `holders`: the names under which its issuer gave it out: the current actor, the client, the subject.
    """

    thumbprint: str = ""
    holders: tuple[str, ...] = ()


UNBOUND: Final = Bound()


def bound(claims: dict[str, Any], act: tuple[str, ...] = ()) -> Bound | Deny:
    """The token's binding. A `cnf` of another or of a second kind is refused. `act`: its actors, the current first."""
    if "cnf" not in claims:
        return UNBOUND
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict):
        return deny("token.claims", "cnf is not an object")
    if confirmation.keys() != {X5T}:
        return deny("transport.binding_mismatch", "cnf is not exactly one x5t#S256")
    value = confirmation[X5T]
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        return deny("token.claims", "x5t#S256 is not a SHA-256 in base64url")
    named = act[:1] or (claims.get("client_id"), claims.get("sub"))
    return Bound(value, tuple(name for name in named if isinstance(name, str)))


def check(bound_to: Bound, workload: Workload | None, rule: BindingRule) -> Deny | None:
    """Whether this peer may present a token that is bound so. A peer without a certificate holds no key.

    1. The peer's certificate is the one that the token names, or
    2. the peer's certificate has replaced that one, and the token was given out to the very workload that presents it.
       Which certificates a certificate has replaced, its authority wrote into it when the former one's holder renewed
       it (`keys.successor`); `workload` holds them only where we have verified the chain ourselves. The name is asked
       for as well, so that no authority of another trust domain can write itself into ours.
    3. `received` (only on routes with `caller: self`) asks nothing. The token came to this zone from its holder, whose
       binding was checked by the Check in front of our service; now the service calls on with what it received, and it
       cannot have the holder's key. What that gives away is bounded: such a route is reached only through our own
       Envoy's local listener, every other server still asks for the holder's certificate, and what leaves a route with
       `exchange` is a new token that is bound to our own certificate.
    """
    if rule == "received":  # 3
        return None
    if not bound_to.thumbprint:
        return MISSING if rule == "required" else None
    if workload is None:
        return MISMATCH
    if hmac.compare_digest(bound_to.thumbprint, workload.certificate_sha256):  # 1
        return None
    # 2: all of them are compared, so that the time taken does not tell which one it was
    formerly = sum(hmac.compare_digest(bound_to.thumbprint, former) for former in workload.predecessors)
    return None if formerly and workload.id in bound_to.holders else MISMATCH
