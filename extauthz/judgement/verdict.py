"""What became of a request that was let through: one small value, kept in the queue's ledger and told as an event."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

import orjson

from extauthz.errors import ExtauthzError

Outcome = Literal["allowed", "denied", "reported"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("allowed", "denied", "reported")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`allowed` and `denied` are the policy's answer; `denied` is a violation. `reported`: it could not be judged.

    `lag`: seconds between being let through and being judged. `detail` is for operators only, and holds no secret.
    """

    decision_id: str
    request_id: str
    route: str
    outcome: Outcome
    at: float
    lag: float
    code: str = ""
    detail: str = ""
    revision: str = ""
    engine: str = ""
    degraded: tuple[str, ...] = ()
    culprit: str = ""
    """Whose violation was counted: the key's text; empty: nobody's."""

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes) -> Verdict:
        """Raises ExtauthzError."""
        try:
            found = orjson.loads(data)
            found["outcome"] = OUTCOMES[OUTCOMES.index(found["outcome"])]
            found["degraded"] = tuple(found["degraded"])
            return cls(**found)
        except (ValueError, TypeError, KeyError):
            raise ExtauthzError("a verdict in the queue cannot be read") from None
