"""Recorded decisions put to another policy: what would have been decided differently.

A record can be replayed when a policy was asked and its input was recorded (`telemetry.records.input: projected`).
What cannot be compared is counted by its reason, never taken for a difference or for its absence:

- `no_input`: the record has none, or the request was refused before any policy was asked;
- `undecided`: the server had a fault of its own (`engine.*`);
- `masked`: the candidate reads a value that the record only has masked;
- `unreadable`: not a decision record.

The recorded input is what the recording policy could read: a candidate that reads more sees those values as missing.
With the recording policy at hand, `reads_more` names them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import EngineFault
from extauthz.model import Allow
from extauthz.policy.authoring.bulk import in_batches
from extauthz.policy.projection import canonical
from extauthz.policy.rollout_difference import tenant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from extauthz.policy.authoring.bulk import Answer, BulkPolicy

WIDER: Final = frozenset({"denied_to_allowed", "less_masked"})
NARROWER: Final = frozenset({"allowed_to_denied", "more_masked"})
MAX_LINE: Final = 1024**2
MASKED: Final = "masked:"


@dataclass(frozen=True, slots=True)
class Group:
    """`code` is the denial's: the one that is new, or the one that is gone."""

    kind: str
    code: str
    entrypoint: str
    tenant: str
    route: str


@dataclass(slots=True)
class Replay:
    """`examples` has the first decision id of each group."""

    records: int = 0
    same: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    groups: Counter[Group] = field(default_factory=Counter)
    examples: dict[Group, str] = field(default_factory=dict)
    revisions: set[str] = field(default_factory=set)
    entrypoints: set[str] = field(default_factory=set)
    seconds: float = 0.0
    unrecorded: dict[str, list[str]] = field(default_factory=dict)
    """What `reads_more` found."""

    @property
    def compared(self) -> int:
        return self.same + self.different

    @property
    def different(self) -> int:
        return sum(self.groups.values())

    def count(self, kinds: Iterable[str]) -> int:
        wanted = set(kinds)
        return sum(number for group, number in self.groups.items() if group.kind in wanted)

    @property
    def per_minute(self) -> float:
        return self.records / self.seconds * 60 if self.seconds else 0.0

    def add(self, other: Replay) -> None:
        self.records += other.records
        self.same += other.same
        self.skipped += other.skipped
        self.groups += other.groups
        self.examples = {**other.examples, **self.examples}
        self.revisions |= other.revisions
        self.entrypoints |= other.entrypoints


def reads_more(entrypoints: Iterable[str], recording: BulkPolicy, candidate: BulkPolicy) -> dict[str, list[str]]:
    """Entrypoint → paths that the candidate reads and no record holds."""
    found = {}
    for entrypoint in sorted(entrypoints):
        held = recording.reads(entrypoint)
        more = [
            path for path in candidate.reads(entrypoint) if not any(path[: len(prefix)] == prefix for prefix in held)
        ]
        if more:
            found[entrypoint] = [".".join(("input", *path)) for path in more]
    return found


def lines(files: Iterable[Path]) -> Iterator[bytes]:
    """Raises OSError."""
    for file in files:
        with file.open("rb") as stream:
            while line := stream.readline(MAX_LINE):
                yield line


def replay(records: Iterable[bytes], policy: BulkPolicy, *, threads: int) -> Replay:
    """`records` are JSON lines. Blocks; the time is the caller's to measure."""
    total = Replay()
    for part in in_batches(lambda batch: _batch(batch, policy), records, threads=threads):
        total.add(part)
    return total


def _batch(batch: list[bytes], policy: BulkPolicy) -> Replay:
    part = Replay()
    for line in batch:
        if not line.strip():
            continue
        part.records += 1
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        skip = _one(record, policy, part) if isinstance(record, dict) else "unreadable"
        if skip:
            part.skipped[skip] += 1
    return part


def _one(record: dict[str, Any], policy: BulkPolicy, part: Replay) -> str:
    """Why the record cannot be compared; empty when it was."""
    document, result, entrypoint = record.get("input"), record.get("result"), record.get("path")
    if record.get("type") != "check" or not isinstance(result, dict) or not isinstance(entrypoint, str):
        return "unreadable"
    if not isinstance(document, dict):
        return "no_input"
    if record.get("layer") == "engine":
        return "undecided"
    asked = canonical(document)
    if b'"masked:' in asked and _reads_masked(document, policy.reads(entrypoint)):
        return "masked"
    part.revisions.add(str(record.get("revision", "")))
    part.entrypoints.add(entrypoint)
    answer = policy.decide(entrypoint, asked)
    kind, code = compare(result, str(record.get("code", "")), answer)
    if not kind:
        part.same += 1
        return ""
    request = record.get("request")
    route = str(request.get("route", "")) if isinstance(request, dict) else ""
    group = Group(kind, code, entrypoint, tenant(document), route)
    part.groups[group] += 1
    part.examples.setdefault(group, str(record.get("decision_id", "")))
    return ""


def compare(result: dict[str, Any], code: str, answer: Answer) -> tuple[str, str]:
    """The kind of a difference and its code; empty when there is none."""
    if isinstance(answer, EngineFault):
        return "fault", answer.code
    if result.get("allow") is not True:
        if isinstance(answer, Allow):
            return "denied_to_allowed", code
        return ("", "") if answer.code == code else ("code", answer.code)
    if not isinstance(answer, Allow):
        return "allowed_to_denied", answer.code
    before, after = set(result.get("masked") or ()), set(answer.obligations.mask)
    if before == after:
        return "", ""
    return ("more_masked" if before < after else "less_masked"), ""


def _reads_masked(document: dict[str, Any], paths: Iterable[tuple[str, ...]]) -> bool:
    for path in paths:
        value: Any = document
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if _masked(value):
            return True
    return False


def _masked(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith(MASKED)
    if isinstance(value, dict):
        return any(map(_masked, value.values()))
    return isinstance(value, list) and any(map(_masked, value))
