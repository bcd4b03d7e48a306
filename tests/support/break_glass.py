"""Break-glass grants for tests: honest ones, and any other."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.tokens import EPOCH, ISSUER, Issuer

if TYPE_CHECKING:
    from pathlib import Path

AUDIENCE = "bank.example/prod"
HEADER = "x-break-glass"


@dataclass
class Signer:
    """Somebody on call, with a key in `break_glass.keys`."""

    issuer: Issuer = field(default_factory=lambda: Issuer(issuer="break-glass", kid="oncall-lead"))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims for alice on create-transfer; a change to `...` removes the claim."""
        claims = {
            "iss": "break-glass",
            "aud": AUDIENCE,
            "sub": "alice",
            "sub_iss": ISSUER,
            "routes": ["create-transfer"],
            "ticket": "INC-4711",
            "reason": "payments are down, the customer's plant stands still",
            "iat": EPOCH - 10,
            "nbf": EPOCH - 10,
            "exp": EPOCH + 1790,
            "jti": "grant-1",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def grant(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        made = self.issuer.header(**{"typ": "break-glass+jwt", **(header or {})})
        return self.issuer.sign(made, self.claims(**changes))

    def write(self, directory: Path) -> dict[str, Any]:
        """The file of keys, and the settings that name it."""
        (directory / "break-glass.json").write_text(json.dumps(self.issuer.jwks()))
        return {"keys": "break-glass.json", "audience": AUDIENCE}
