"""What each request must get, known before it is sent; and what an answer was.

1. `allow`: the credential is good and the policy lets it pass. `policy`: the credential is good and the policy refuses.
   `identity`: the credential itself is bad (forged, expired, revoked, missing): nothing may ever let it pass.
2. Allowed although `identity` or `policy` refuses is **wrongly allowed**. One exception, and only where the route's own
   plan says so: with `x-extauthz-mode: open` or `async` the policy was not asked, so `policy` may pass.
3. 503 `engine.*` in our words, with a decision id (or Envoy's own words when the server itself is away), is a
   **denial by fault**: never lost, and a broken promise only where the row says that this route must be served.
4. No answer, an answer after the deadline, an error in other words, a refusal of the right one: **lost**.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENVOY_TIMEOUT: Final = 1.0
"""Seconds: Envoy's ext_authz timeout, the caller's deadline; as in `envoy/edge.yaml`."""
MARGIN: Final = 1.0
"""Seconds beyond it: connections, Envoy itself and this generator, on a machine that may be busy."""
UNASKED: Final = frozenset({"open", "async"})
SERVED: Final = "x-faults-upstream"
OK: Final = 200

Must = Literal["allow", "policy", "identity"]
Class = Literal["allowed", "denied", "by_fault", "wrong", "lost"]


@dataclass(frozen=True)
class Kind:
    """One sort of request. `headers` are made for each request."""

    name: str
    route: str
    must: Must
    path: str
    headers: Callable[[], Mapping[str, str]]
    codes: frozenset[str] = frozenset()
    """Codes that a refusal may have."""
    method: str = "POST"
    may_pass: bool = False
    """The route's plan lets requests pass that the policy was not asked about."""


@dataclass(frozen=True)
class Answer:
    """Times in seconds of the monotonic clock. `status` 0: none came; `problem` says why."""

    kind: Kind
    sent: float
    took: float
    status: int = 0
    code: str = ""
    decision_id: str = ""
    mode: str = ""
    served: bool = False
    problem: str = ""

    @property
    def late(self) -> bool:
        return self.took > ENVOY_TIMEOUT + MARGIN

    @property
    def label(self) -> str:
        """What a report calls it."""
        if self.status == OK and self.served:
            return f"200 {self.mode}".strip()
        return self.code or self.problem or str(self.status)

    @property
    def of(self) -> Class:
        if self.status == OK and self.served:
            return self._allowed()
        if self.status == 0 or self.late:
            return "lost"
        if self.status == 503 and self.code.startswith("engine."):
            return "by_fault"
        right = self.kind.must != "allow" and self.code in self.kind.codes and bool(self.decision_id)
        return "denied" if right else "lost"

    def _allowed(self) -> Class:
        if self.kind.must == "identity":
            return "wrong"
        if self.kind.must == "policy" and not (self.kind.may_pass and self.mode in UNASKED):
            return "wrong"
        return "lost" if self.late else "allowed"
