"""The words of a Check: what was asked, who asks, what was decided.

Everything here is a value. Lower-case header names, seconds for times, AuthZEN words for the policy input
(`subject`, `action`, `resource`, `context`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.codes import CODES, Layer, http_status

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Allow",
    "Away",
    "Decision",
    "Deny",
    "Exchange",
    "Layer",
    "Obligations",
    "Reason",
    "Request",
    "Subject",
    "Workload",
    "away",
    "deny",
]


@dataclass(slots=True, eq=False)
class Request:
    """One request as Envoy describes it; built once a Check by `check.wire`, read-only afterwards.

    `path` has no query; it is the path as Envoy serves it. `principal` and `certificate` are `source.principal` and
    `source.certificate` (URL-encoded PEM) of the peer, empty when Envoy sent none.
    """

    id: str
    method: str
    scheme: str
    host: str
    path: str
    query: str
    protocol: str
    headers: Mapping[str, str]
    body: bytes
    body_truncated: bool
    principal: str
    certificate: str
    source_address: str
    destination_principal: str
    context_extensions: Mapping[str, str]
    duplicated_headers: frozenset[str] = frozenset()
    """Names that came more than once, where Envoy tells (`encode_raw_headers`)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A verified calling workload. The parts of its SPIFFE ID that no template names are empty."""

    id: str
    trust_domain: str
    namespace: str = ""
    environment: str = ""
    service: str = ""
    tenant: str = ""
    certificate_sha256: str = ""
    """`x5t#S256` of the peer certificate: unpadded base64url of SHA-256 over the DER (RFC 8705 section 3.1)."""
    expires_at: float = 0.0
    """The peer certificate's notAfter, seconds since the epoch; 0 when the identity came without a certificate."""
    predecessors: tuple[str, ...] = ()
    """`x5t#S256` of the certificates that this one has replaced, newest first (`keys.successor`); at most 8."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a credential proved. `claims` are the verified claims; they are read-only."""

    type: str
    """`user`, `service` or `workload`."""
    id: str
    credential: str
    """`jwt`, `opaque`, `api_key`, or `workload` when the peer certificate itself is the credential."""
    issuer: str = ""
    audience: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    purpose: str = ""
    token_id: str = ""
    expires_at: float = 0.0
    claims: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    """The first 16 hex digits of SHA-256 over the token: all that a record may say of it."""
    act: tuple[str, ...] = ()
    """Who acts for the subject, the current actor first (RFC 8693 section 4.1); at most 8."""
    ancestors: tuple[str, ...] = ()
    """Ids of the tokens that this one was derived from, the root first; at most 8. To revoke one revokes this."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why. `message` and `remedy` are for the caller (empty: the catalogue's), `detail` is for operators only.

    `detail` never holds a secret, a token or a whole header value.
    """

    code: str
    message: str = ""
    remedy: str = ""
    detail: str = ""

    @property
    def layer(self) -> Layer:
        return Layer(self.code.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Exchange:
    """Which token the upstream is to get in place of the one that came; empty: as the route says."""

    audience: str = ""
    scopes: tuple[str, ...] = ()
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What an Allow asks of Envoy, beside letting the request through."""

    headers: tuple[tuple[str, str], ...] = ()
    """Request headers to set, lower-case names; only names that the config lets a policy set."""
    mask: tuple[str, ...] = ()
    """Names of fields that the upstream must mask; sent as one header."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Goes into Envoy's dynamic metadata."""
    exchange: Exchange | None = None
    """Narrows the route's `exchange`; refused where the route has none."""


NO_OBLIGATIONS: Final = Obligations()


@dataclass(frozen=True, slots=True)
class Allow:
    """`ttl`: for how many seconds the policy lets this answer be reused; None leaves it to the route."""

    obligations: Obligations = NO_OBLIGATIONS
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """`reasons` is never empty; the first one decides layer, code and HTTP status."""

    reasons: tuple[Reason, ...]
    ttl: float | None = None

    def __post_init__(self) -> None:
        if not self.reasons:
            raise AssertionError("a denial has a reason")

    @property
    def code(self) -> str:
        return self.reasons[0].code

    @property
    def layer(self) -> Layer:
        return self.reasons[0].layer

    @property
    def status(self) -> int:
        return http_status(self.code)

    @property
    def message(self) -> str:
        first = self.reasons[0]
        if first.message:
            return first.message
        known = CODES.get(first.code)
        return known.message if known else "The policy denies this request."


@dataclass(frozen=True, slots=True)
class Away(Deny):
    """A part that had to be asked did not answer: the one denial that a route's failure plan may turn around.

    An answer that cannot be used is none of these: the caller may have had a hand in it.
    """


Decision = Allow | Deny


def away(code: str, detail: str = "") -> Away:
    """As `deny`, because a part is away or too slow."""
    CODES[code]
    return Away((Reason(code, detail=detail),))


def deny(code: str, detail: str = "") -> Deny:
    """A denial with one of our own codes. Raises KeyError for a code that the catalogue does not list."""
    CODES[code]
    return Deny((Reason(code, detail=detail),))
