"""What the token service answers (RFC 6749 section 5, RFC 8693 section 2.2), as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from extauthz.model import Deny

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT_CREDENTIALS: Final = "client_credentials"
SIGN_IN: Final = "urn:extauthz:development:sign-in"

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
TRANSACTION_TOKEN: Final = "urn:ietf:params:oauth:token-type:txn_token"  # noqa: S105 - a name

Error = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "invalid_target",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
]
_STATUS: Final = {"invalid_client": 401, "temporarily_unavailable": 503}
_NOT_DESCRIPTION: Final = re.compile(r'[^ !#-\[\]-~]|"|\\')
"""RFC 6749 section 5.2: what `error_description` may not hold."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`description` is for the client and quotes nothing that it sent; `detail` is for the audit record only."""

    error: Error
    description: str
    code: str = ""
    """Which of our own checks, or of the policy's, refused: `token.expired`."""
    detail: str = ""

    @property
    def status(self) -> int:
        return _STATUS.get(self.error, 400)

    def body(self) -> dict[str, Any]:
        text = f"{self.description} [{self.code}]" if self.code else self.description
        return {"error": self.error, "error_description": _NOT_DESCRIPTION.sub("?", text)[:512]}


@dataclass(frozen=True, slots=True)
class Issued:
    """`expires_in`: seconds. `token_type` is N_A for what must not travel in `Authorization`."""

    token: str
    issued_token_type: str
    token_type: Literal["Bearer", "N_A"]
    expires_in: int
    scopes: frozenset[str]

    def body(self) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "access_token": self.token,
            "issued_token_type": self.issued_token_type,
            "token_type": self.token_type,
            "expires_in": self.expires_in,
        }
        return answer | ({"scope": " ".join(sorted(self.scopes))} if self.scopes else {})

    def __repr__(self) -> str:
        return f"Issued({self.issued_token_type}, {self.expires_in} s)"


def from_denial(denial: Deny, error: Error = "invalid_request") -> Refused:
    """RFC 8693 section 2.2.2: a token that is unacceptable for any reason is an `invalid_request`.

    That its issuer's keys cannot be had is no reason that lies in the token.
    """
    if denial.code == "token.keys_unavailable":
        error = "temporarily_unavailable"
    return Refused(error, denial.message, denial.code, denial.reasons[0].detail)
