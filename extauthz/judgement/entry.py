"""One request that waits for its judgement, as it is kept: what was proven of it, and what its route reads of it.

1. No credential is in it: no header but those that the route's attribute sources read (none of them may carry one,
   `attributes.settings.SECRET_HEADERS`), and of the token only what a record may say (`model.Subject.digest`).
2. Query and body are in it only where the route reads them.
3. It has a bound: what does not fit, or cannot be written as JSON, is not kept, and the route's plan applies.

Form: one line of JSON, a newline, the body's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ExtauthzError
from extauthz.model import Request, Subject, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION: Final = 1
NEVER: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "txn-token", "dpop"}
)
"""Headers that are never kept, whoever asks for them."""
_PLAIN: Final = ("id", "method", "scheme", "host", "path", "protocol", "source_address", "destination_principal")
_PROVEN: Final = tuple(field.name for field in fields(Subject))
_CALLER: Final = tuple(field.name for field in fields(Workload))
_TUPLES: Final = ("audience", "act", "ancestors", "predecessors")


@dataclass(frozen=True, slots=True)
class Reads:
    """What a route reads of a request beside its method, host and path."""

    headers: frozenset[str] = frozenset()
    query: bool = False
    body: bool = False

    def within(self, other: Reads) -> bool:
        """Whether all of it was kept for `other`."""
        return self.headers <= other.headers and self.query <= other.query and self.body <= other.body


@dataclass(frozen=True, slots=True)
class Entry:
    """`started`: when the Check began. `accepted`: when it was taken. Seconds since the epoch."""

    decision_id: str
    started: float
    accepted: float
    route: str
    request: Request
    variables: Mapping[str, str]
    resource_id: str
    workload: Workload | None
    subject: Subject | None
    kept: Reads
    trace_id: str = ""
    parent_id: str = ""
    sampled: bool = False

    def dump(self, most: int) -> bytes | None:
        """None when it cannot be kept in `most` bytes."""
        request, kept = self.request, self.kept
        names = kept.headers - NEVER
        head = {
            "v": _VERSION,
            "decision_id": self.decision_id,
            "started": self.started,
            "accepted": self.accepted,
            "route": self.route,
            "request": {name: getattr(request, name) for name in _PLAIN},
            "headers": {name: value for name, value in request.headers.items() if name in names},
            "duplicated": sorted(request.duplicated_headers & names),
            "query": request.query if kept.query else "",
            "truncated": request.body_truncated,
            "variables": dict(self.variables),
            "resource_id": self.resource_id,
            "workload": None if self.workload is None else _members(self.workload, _CALLER),
            "subject": None if self.subject is None else _members(self.subject, _PROVEN),
            "kept": {"headers": sorted(names), "query": kept.query, "body": kept.body},
            "trace": [self.trace_id, self.parent_id, self.sampled],
        }
        try:
            data = orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE)
        except (TypeError, RecursionError):  # a number beyond 64 bits, half a surrogate pair, too deep
            return None
        if kept.body:
            data += request.body
        return data if len(data) <= most else None

    @classmethod
    def load(cls, data: bytes) -> Entry:
        """Raises ExtauthzError."""
        line, _, body = data.partition(b"\n")
        try:
            head = orjson.loads(line)
            if head["v"] != _VERSION:
                raise ExtauthzError("the entry is of another version of extauthz")
            return _entry(head, body)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ExtauthzError("the entry cannot be read") from None


def _entry(head: dict[str, Any], body: bytes) -> Entry:
    kept, trace = head["kept"], head["trace"]
    request = Request(
        **{name: str(head["request"][name]) for name in _PLAIN},
        query=str(head["query"]),
        headers=dict(head["headers"]),
        body=body,
        body_truncated=bool(head["truncated"]),
        principal="",
        certificate="",
        context_extensions={},
        duplicated_headers=frozenset(head["duplicated"]),
    )
    return Entry(
        decision_id=str(head["decision_id"]),
        started=float(head["started"]),
        accepted=float(head["accepted"]),
        route=str(head["route"]),
        request=request,
        variables=dict(head["variables"]),
        resource_id=str(head["resource_id"]),
        workload=None if head["workload"] is None else Workload(**_restored(head["workload"])),
        subject=None if head["subject"] is None else Subject(**_restored(head["subject"])),
        kept=Reads(frozenset(kept["headers"]), bool(kept["query"]), bool(kept["body"])),
        trace_id=str(trace[0]),
        parent_id=str(trace[1]),
        sampled=bool(trace[2]),
    )


def _members(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in names}
    if "scopes" in found:
        found["scopes"] = sorted(found["scopes"])
        found["claims"] = dict(found["claims"])
    return found


def _restored(found: dict[str, Any]) -> dict[str, Any]:
    for name in _TUPLES:
        if name in found:
            found[name] = tuple(found[name])
    if "scopes" in found:
        found["scopes"] = frozenset(found["scopes"])
    return found
