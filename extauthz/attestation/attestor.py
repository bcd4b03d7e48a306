"""What an attestor is: from evidence that a platform gave a workload, to selectors that describe the workload.

Laws
- Evidence is a stranger's text: at most MAX_EVIDENCE characters, and nothing in it is believed before it is verified.
- A selector is said only of what was verified. Selectors are `<kind>:<what>:<value>` (`k8s:ns:payments`), but for
  `join:<entry>`.
- Evidence serves once where the attestor says so, and it is used up last: a refusal for another reason costs nothing.
- Whoever issues judges the certificate request first, and attests after that: used evidence is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from extauthz.attestation.refusal import Refused

MAX_EVIDENCE: Final = 16 * 1024
MAX_VALUE: Final = 512
_VALUE: Final = re.compile(rf"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{{1,{MAX_VALUE}}}")


@dataclass(frozen=True, slots=True)
class Attested:
    """`attestor` is the name in the settings. `evidence_id`: hex digest that names the evidence in audit records and
    never changes with how it is spelt. `expires_at`: seconds since the epoch after which the evidence says nothing.

    `instance` names the one running thing that the platform proves this to be, for as long as it runs and for nothing
    else (a pod by its uid, a machine by its id); empty where the evidence does not tell one replica from another.
    """

    attestor: str
    selectors: frozenset[str]
    evidence_id: str
    expires_at: float
    instance: str = ""


class Attestor(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    async def attest(self, evidence: str) -> Attested | Refused:
        """`evidence` is bounded by the caller. Raises StoreError when it cannot be known whether it was used."""

    def start(self) -> None:
        """Begins what runs in the background, if anything does."""

    async def close(self) -> None: ...


def selector(kind: str, what: str, value: object) -> str | None:
    """One selector, or None when the value is no plain text: no control characters, bounded."""
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return None
    return f"{kind}:{what}:{value}"
