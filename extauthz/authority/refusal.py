"""What the authority's own endpoints refuse with: code, message, remedy and HTTP status, in one shape for all sources.

Attestation has codes of its own (`attestation.refusal`), and what is wrong with a certificate is said as a Check says
it (`codes`); the codes here are for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extauthz.codes import CODES as CHECK_CODES
from extauthz.model import Deny

if TYPE_CHECKING:
    from extauthz.attestation.refusal import Refused

CODES: Final = {
    "authority.malformed": (
        "The request is malformed.",
        "Compare it with docs/authority.md.",
        HTTPStatus.BAD_REQUEST,
    ),
    "authority.too_large": (
        "The request is too large, or came too slowly.",
        "Send less.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ),
    "authority.audience": (
        "A JWT-SVID is for 1 to 16 audiences of visible characters.",
        "Name the audience that will verify it.",
        HTTPStatus.BAD_REQUEST,
    ),
    "authority.polls": (
        "Too many polls are open.",
        "Close some, or raise authority.listener.",
        HTTPStatus.TOO_MANY_REQUESTS,
    ),
    "authority.unknown_entry": (
        "No registration entry has this name.",
        "Use one of `extauthz authority entries`.",
        HTTPStatus.NOT_FOUND,
    ),
    "authority.unavailable": (
        "Nothing can be issued at the moment.",
        "Retry; the operator sees the reason in the authority's log.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
"""Code → message, remedy, HTTP status."""

REMEDIES: Final = {
    "transport.certificate_missing": "Call over mTLS with your SVID; without one, attest.",
    "transport.certificate_expired": "Attest again.",
    "transport.certificate_untrusted": "Fetch the trust bundle and attest again.",
    "workload.trust_domain": "Ask the authority of your own trust domain.",
    "workload.unregistered": "Choose another path in the entry's spiffe_id.",
    "workload.revoked": "Ask the authority's operator.",
}
"""What helps here, where it is not what helps a caller of Envoy with the same code."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`detail` is for audit records and never answered."""

    code: str
    message: str
    remedy: str
    status: int
    detail: str = ""

    def body(self) -> dict[str, str]:
        return {"error": self.code, "message": self.message, "remedy": self.remedy}


def refusal(code: str, detail: str = "") -> Refusal:
    """One of this module's codes. Raises KeyError for another one."""
    message, remedy, status = CODES[code]
    return Refusal(code, message, remedy, int(status), detail)


def refusal_of(found: Deny | Refused) -> Refusal:
    """What another package refused, as an answer."""
    if isinstance(found, Deny):
        known = CHECK_CODES[found.code]
        remedy = REMEDIES.get(found.code, known.remedy)
        return Refusal(found.code, known.message, remedy, int(found.status), found.reasons[0].detail)
    return Refusal(found.code, found.message, found.remedy, int(found.status), found.detail)
