"""The identity headers: what the upstream learns of who calls.

They are ours alone. A copy that the client sent is removed whether or not we set one (DESIGN law 4), so an upstream
behind Envoy may trust every header that starts with `x-extauthz-`, and a `Txn-Token` that it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from extauthz.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.model import Allow, Subject, Workload

PREFIX: Final = "x-extauthz-"
MODE: Final = "x-extauthz-mode"
"""How an allow came about that is not an ordinary one: `async`, `open`, `degraded`, `break-glass`."""
OWNED: Final = (
    "x-extauthz-subject",
    "x-extauthz-subject-type",
    "x-extauthz-tenant",
    "x-extauthz-purpose",
    "x-extauthz-scope",
    "x-extauthz-workload",
    "x-extauthz-route",
    "x-extauthz-mask",
    MODE,
    "x-extauthz-decision-id",
    "txn-token",
    "x-break-glass",
)
"""Removed from every request where we do not set them, beside whatever else it carries under our prefix."""
_SAFE: Final = " !#$&'()*+,/:;=?@[]-._~"
"""What stands as it is in a header value; every other byte, `%` included, is percent-encoded (RFC 3986)."""


def header_value(text: str) -> str:
    """Text of any origin as one harmless header value."""
    return text if text.isascii() and text.isprintable() and "%" not in text else quote(text, safe=_SAFE)


def upstream_headers(
    decision: Allow,
    subject: Subject | None,
    workload: Workload | None,
    route: str,
    decision_id: str,
    policy_headers: frozenset[str],
) -> list[tuple[str, str]]:
    """The headers to set, each once. Raises EngineFault when the policy sets one that the route does not let it."""
    headers = dict(_identity(subject, workload))
    headers["x-extauthz-route"] = route
    headers["x-extauthz-decision-id"] = decision_id
    if decision.obligations.mask:
        headers["x-extauthz-mask"] = ",".join(map(header_value, decision.obligations.mask))
    for name, value in decision.obligations.headers:
        if name in OWNED or not (name.startswith(PREFIX) or name in policy_headers):
            raise EngineFault("engine.invalid_result", f"the policy may not set the header {name!r} on this route")
        headers[name] = header_value(value)
    return list(headers.items())


def _identity(subject: Subject | None, workload: Workload | None) -> Iterator[tuple[str, str]]:
    if subject is not None:
        yield "x-extauthz-subject", header_value(subject.id)
        yield "x-extauthz-subject-type", subject.type
        tenant = subject.claims.get("tenant")
        if isinstance(tenant, str):
            yield "x-extauthz-tenant", header_value(tenant)
        if subject.purpose:
            yield "x-extauthz-purpose", header_value(subject.purpose)
        if subject.scopes:
            yield "x-extauthz-scope", header_value(" ".join(sorted(subject.scopes)))
    if workload is not None:
        yield "x-extauthz-workload", workload.id
