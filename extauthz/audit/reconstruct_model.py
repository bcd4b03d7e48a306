"""The words of a reconstruction: evidence, the steps that it tells of, and what is missing or contradicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.audit import index_facts as facts
from extauthz.audit.index_row import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["issued", "decision", "exchange", "afterwards", "other"]
Link = Literal["root", "span", "token", "decision", "trace"]
"""How a step is known to follow from the one above it: a span id of ours, a token's digest, a decision's id; or only
the trace id, which the caller chose."""
_ISSUED: Final = frozenset({"token.issued", "identity.issued"})
_DECIDED: Final = frozenset({"decision.allowed", "decision.denied"})


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A record, and where it stands."""

    record: Mapping[str, Any]
    directory: str = ""
    file: str = ""
    intact: bool = True

    @property
    def name(self) -> str:
        """`<writer>:<seq>`."""
        return f"{facts.text(self.record.get('writer')) or '?'}:{self.record.get('seq', '?')}"

    @property
    def place(self) -> str:
        """With the directory's name: writers of several servers are called alike."""
        return f"{PurePath(self.directory).name}/{self.name}" if self.directory else self.name

    @property
    def event(self) -> str:
        return facts.text(self.record.get("event"))

    @property
    def time(self) -> int:
        """Milliseconds since the epoch."""
        return milliseconds(self.record.get("timestamp"))

    @property
    def decision_id(self) -> str:
        return facts.text(self.record.get("decision_id"))

    @property
    def trace_id(self) -> str:
        return facts.text(self.record.get("trace_id"))

    @property
    def subject(self) -> str:
        return facts.text(facts.subject(self.record).get("id"))

    @property
    def workload(self) -> str:
        return facts.text(facts.workload(self.record))

    @property
    def presented(self) -> str:
        """Digest of the credential that came."""
        return facts.text(facts.subject(self.record).get("token"))

    @property
    def made(self) -> str:
        """Digest of the credential that was made of it, or issued."""
        return facts.text(facts.made(self.record))

    @property
    def acting(self) -> tuple[str, ...]:
        """Who acts for the subject, the current actor first."""
        return facts.acting(self.record)

    @property
    def allowed(self) -> bool:
        return facts.part(self.record, "result").get("allow") is True

    @property
    def kind(self) -> Kind:
        if self.event in _DECIDED:
            return "decision"
        if self.event == "token.exchanged":
            return "exchange"
        if self.event in _ISSUED:
            return "issued"
        return "afterwards" if self.decision_id else "other"


@dataclass(slots=True, eq=False)
class Step:
    evidence: Evidence
    link: Link = "root"
    parent: Step | None = None
    children: list[Step] = field(default_factory=list)

    def walk(self) -> Iterator[Step]:
        """Itself and all below it, in the order of the tree."""
        waiting = [self]
        while waiting:
            step = waiting.pop()
            yield step
            waiting += reversed(step.children)

    def above(self) -> Iterator[Step]:
        """What led to it, the nearest first."""
        step = self.parent
        while step is not None:
            yield step
            step = step.parent

    @property
    def after(self) -> int | None:
        """Milliseconds after the step above it; negative where clocks disagree, or a token was kept."""
        return None if self.parent is None else self.evidence.time - self.parent.evidence.time


@dataclass(frozen=True, slots=True)
class Remark:
    """`missing`: a record that should be there; `contradiction`: records that cannot both be right; `note`: neither."""

    kind: Literal["missing", "contradiction", "note"]
    at: str
    """The record that it is about."""
    text: str


@dataclass(frozen=True, slots=True)
class Story:
    """`roots`: what it begins with; the one that the asked decision belongs to comes first."""

    decision_id: str
    trace_id: str
    roots: tuple[Step, ...]
    remarks: tuple[Remark, ...]

    @property
    def whole(self) -> bool:
        """Nothing is missing, nothing contradicts."""
        return all(remark.kind == "note" for remark in self.remarks)

    def steps(self) -> Iterator[Step]:
        for root in self.roots:
            yield from root.walk()
