"""Why nothing is issued: the codes of attestation, each with its message and its remedy.

They are apart from `extauthz.codes`, whose layers are those of a Check: these are read by whoever runs a workload that
does not get its identity. `Refused.detail` is for the authority's operators and never leaves its log: it may say what
a stranger has tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    message: str
    remedy: str
    status: HTTPStatus = HTTPStatus.FORBIDDEN


CODES: Final = {
    "attestation.attestor_unknown": Code(
        "No attestor of this name is configured.", "Use one of the authority's attestors.", HTTPStatus.BAD_REQUEST
    ),
    "attestation.too_large": Code("The evidence is too large.", "Send at most 16 KiB.", HTTPStatus.BAD_REQUEST),
    "attestation.malformed": Code(
        "The evidence is malformed.", "Send what the attestor's platform gave out, unchanged.", HTTPStatus.BAD_REQUEST
    ),
    "attestation.signature": Code(
        "The evidence was not signed by a key that is trusted for it.", "Check which platform signed it."
    ),
    "attestation.issuer": Code(
        "The evidence is of another issuer.", "Attest at the authority that trusts your cluster or provider."
    ),
    "attestation.audience": Code(
        "The evidence was made for another audience.", "Ask your platform for a token for the authority."
    ),
    "attestation.expired": Code("The evidence has expired.", "Ask your platform for fresh evidence."),
    "attestation.not_yet_valid": Code("The evidence is not valid yet.", "Check the clocks."),
    "attestation.too_old": Code("The evidence is older than is accepted.", "Ask your platform for fresh evidence."),
    "attestation.claims": Code(
        "The evidence lacks something that the attestor needs.", "Compare it with docs/attestation.md."
    ),
    "attestation.not_allowed": Code(
        "The attestor's settings do not let this workload in.", "Add it to the attestor's allow list."
    ),
    "attestation.replayed": Code(
        "The evidence has been used before.", "Evidence serves once: ask your platform for fresh evidence."
    ),
    "attestation.join_token": Code(
        "The join token is unknown, used or expired.", "Ask the authority's operator for another one."
    ),
    "attestation.unavailable": Code(
        "The evidence cannot be verified at the moment.", "Retry.", HTTPStatus.SERVICE_UNAVAILABLE
    ),
    "attestation.no_entry": Code("No registration entry fits what was attested.", "Register the workload."),
    "attestation.ambiguous_entry": Code(
        "Several registration entries fit what was attested equally well.", "Make one of them more specific."
    ),
    "attestation.entry_conflict": Code(
        "The registration entry cannot give this workload a SPIFFE ID.", "Correct the entry's spiffe_id."
    ),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """`detail` is for operators; it holds no evidence."""

    code: str
    detail: str = ""

    def __post_init__(self) -> None:
        CODES[self.code]

    @property
    def message(self) -> str:
        return CODES[self.code].message

    @property
    def remedy(self) -> str:
        return CODES[self.code].remedy

    @property
    def status(self) -> int:
        """The HTTP status to answer with."""
        return CODES[self.code].status
