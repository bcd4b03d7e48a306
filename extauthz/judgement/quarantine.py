"""Who is in quarantine: keys that were proven when the violation was accepted, and how violations become one.

| kind | value | issuer |
| --- | --- | --- |
| `workload` | the SPIFFE ID that the peer certificate proved | – |
| `token` | the first 16 hex digits of SHA-256 over the credential | – |
| `tenant` | the tenant that the verified credential names | the issuer that said so |

An issuer vouches for its own tenants alone: what one issuer's token does never confines another issuer's tenant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.judgement.settings import QuarantineRule
    from extauthz.model import Subject, Workload

Kind = Literal["workload", "token", "tenant"]
KINDS: Final[tuple[Kind, ...]] = ("workload", "token", "tenant")
EVERYWHERE: Final = ""
"""In place of a route."""
ANY_ISSUER: Final = ""
"""In place of an issuer: an operator means the tenant, whoever vouches for it."""
OPERATOR: Final = "operator"
STRIKES: Final = "strikes"
_LONGEST: Final = 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Key:
    """Whom a quarantine covers, and on which route (empty: on every route)."""

    kind: Kind
    value: str
    issuer: str = ""
    route: str = EVERYWHERE

    @property
    def text(self) -> str:
        """One unambiguous text for stores."""
        return orjson.dumps([self.kind, self.value, self.issuer, self.route]).decode()


@dataclass(frozen=True, slots=True)
class Quarantine:
    """`by`: `strikes`, or `operator`. `decision_id`: the violation that began it."""

    key: Key
    since: float
    until: float
    by: str
    decision_id: str = ""

    def plain(self) -> dict[str, Any]:
        key = self.key
        named = {"kind": key.kind, "value": key.value, "issuer": key.issuer, "route": key.route}
        return {**named, "since": self.since, "until": self.until, "by": self.by, "decision_id": self.decision_id}

    def dump(self) -> bytes:
        return orjson.dumps(self.plain())

    @classmethod
    def load(cls, data: bytes) -> Quarantine:
        """Raises ExtauthzError."""
        try:
            found = orjson.loads(data)
            kind = KINDS[KINDS.index(found["kind"])]
            key = Key(kind, str(found["value"]), str(found["issuer"]), str(found["route"]))
            return cls(key, float(found["since"]), float(found["until"]), str(found["by"]), str(found["decision_id"]))
        except (ValueError, TypeError, KeyError):
            raise ExtauthzError("a quarantine in the store cannot be read") from None


def proven(by: Kind, workload: Workload | None, subject: Subject | None) -> tuple[str, str] | None:
    """Value and issuer of whom a request may be held against; None: nothing of this kind was proven."""
    if by == "workload":
        return None if workload is None else (workload.id, "")
    if subject is None:
        return None
    if by == "token":
        return (subject.digest[:16], "") if _DIGEST.fullmatch(subject.digest[:16]) else None
    tenant = tenant_of(subject)
    return None if tenant is None else (tenant, vouching(subject))


def tenant_of(subject: Subject) -> str | None:
    """The verified tenant; None where the credential names none."""
    tenant = subject.claims.get("tenant")
    return tenant if isinstance(tenant, str) and 0 < len(tenant) <= _LONGEST else None


def vouching(subject: Subject) -> str:
    """Who says what the subject's tenant is: its issuer, or the kind of credential that this server itself vouches for.

    Never empty, so that nobody's word counts for every issuer."""
    return subject.issuer or subject.credential or "none"


def key_of(rule: QuarantineRule, route: str, workload: Workload | None, subject: Subject | None) -> Key | None:
    """Whom a violation on `route` is counted for."""
    found = proven(rule.by, workload, subject)
    if found is None:
        return None
    return Key(rule.by, *found, route if rule.scope == "route" else EVERYWHERE)


def enough(times: Sequence[float], at: float, strikes: int, window: float) -> bool:
    """Whether `strikes` of `times` (in any order; `at` among them) lie within less than `window`, `at` being one.

    Judgements come in any order, so the window slides over both sides of `at`.
    """
    near = sorted(time for time in times if abs(time - at) < window)
    return any(near[i + strikes - 1] - near[i] < window for i in range(len(near) - strikes + 1))
