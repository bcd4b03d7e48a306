"""Puts each step below the one that it follows from. The strongest link counts; the first in time among equals.

| step | is below | known by |
| --- | --- | --- |
| decision | the decision whose span is its parent span | span |
| decision with a token that another workload brought before | that decision: the callee goes on with it | token |
| decision with a token that was issued or exchanged | that issuance or exchange | token |
| decision with a token that another decision was given | that decision (the exchange has no record) | token |
| exchange | the decision that was given its token, else the one with the token that was exchanged | token |
| judgement, quarantine, alert, break-glass | the decision of the same id | decision |
| revocation of a token | the step that made the token | token |
| anything else | the first step of the trace | trace |
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from extauthz.audit import index_facts as facts
from extauthz.audit.reconstruct_model import Step
from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.audit.reconstruct_model import Evidence, Link


class _Known:
    """Steps by what others name them by; each list in the order of time."""

    def __init__(self, steps: Sequence[Step], trace_id: str) -> None:
        self.trace_id = trace_id
        self.spans: dict[str, Step] = {}
        self.decisions: dict[str, Step] = {}
        self.born: dict[str, Step] = {}
        """By the digest of the token that was issued or exchanged."""
        self.given: defaultdict[str, list[Step]] = defaultdict(list)
        """Decisions by the digest of the token that the upstream got."""
        self.brought: defaultdict[str, list[Step]] = defaultdict(list)
        """Decisions by the digest of the token that came."""
        for step in steps:
            self._add(step)

    def _add(self, step: Step) -> None:
        one = step.evidence
        if one.kind == "decision":
            self.decisions.setdefault(one.decision_id, step)
            if len(digits := trace_context.digits(one.decision_id)) == 32:  # noqa: PLR2004 - a UUID
                self.spans.setdefault(digits[16:], step)
            if one.made:
                self.given[one.made].append(step)
            if one.presented:
                self.brought[one.presented].append(step)
        elif one.made and one.kind in {"issued", "exchange"}:
            self.born.setdefault(one.made, step)


def linked(evidence: Sequence[Evidence], trace_id: str) -> list[Step]:
    """The roots, by time. `evidence` is in the order of time."""
    steps = [Step(one) for one in evidence]
    known = _Known(steps, trace_id)
    for step in steps:
        for parent, link in _parents(step, known):
            if parent is not step and not any(above is step for above in (parent, *parent.above())):
                step.parent, step.link = parent, link
                break
    _by_trace(steps, trace_id)
    for step in steps:
        if step.parent is not None:
            step.parent.children.append(step)
    return [step for step in steps if step.parent is None]


def _parents(step: Step, known: _Known) -> list[tuple[Step, Link]]:
    """Candidates, the best first."""
    one = step.evidence
    if one.kind == "decision":
        return _before_decision(step, known)
    if one.kind == "exchange":
        given = sorted(known.given[one.made], key=lambda found: (_cached(found), found.evidence.time))
        same = [found for found in known.brought[one.presented] if one.presented]
        told: list[tuple[Step, Link]] = [(found, "token") for found in (*given, *same)]
        return told + _born(one.presented, known)
    if one.decision_id in known.decisions:
        return [(known.decisions[one.decision_id], "decision")]
    return _born(one.made, known) if one.kind != "issued" else []


def _before_decision(step: Step, known: _Known) -> list[tuple[Step, Link]]:
    one = step.evidence
    found: list[tuple[Step, Link]] = []
    parent = facts.text(one.record.get("parent_id"))
    if parent and parent in known.spans:
        found.append((known.spans[parent], "span"))
    if one.presented:
        found += [(arrival, "token") for arrival in _arrivals(step, known)[-1:]]
        found += _born(one.presented, known)
        found += [(other, "token") for other in known.given[one.presented] if other.evidence.time <= one.time]
    return found


def _arrivals(step: Step, known: _Known) -> list[Step]:
    """Decisions that let the token in before, where this one is about what the callee does with it.

    Whoever acts for the subject now exchanged the token last, and brings it: a decision about its own call is an
    arrival. A token without actors came from outside, so any other caller may have brought it.
    """
    one = step.evidence
    actor = next(iter(one.acting), "")
    if actor and actor == one.workload:
        return []
    return [
        other
        for other in known.brought[one.presented]
        if other.evidence.allowed
        and other.evidence.time <= one.time
        and other.evidence.workload != one.workload
        and (not actor or other.evidence.workload == actor)
    ]


def _born(digest: str, known: _Known) -> list[tuple[Step, Link]]:
    return [(known.born[digest], "token")] if digest and digest in known.born else []


def _cached(step: Step) -> bool:
    return facts.part(step.evidence.record, "cached").get("exchange") is True


def _by_trace(steps: Sequence[Step], trace_id: str) -> None:
    """What has no other link goes below the first decision of the trace, unless it is that one or led to it."""
    decisions = (step for step in steps if step.evidence.kind == "decision" and step.evidence.trace_id == trace_id)
    first = next(decisions, None)
    if first is None or not trace_id:
        return
    top = [first, *first.above()][-1]
    for step in steps:
        alone = step.parent is None and step is not top and step.evidence.trace_id == trace_id
        if alone and step.evidence.kind != "issued":
            step.parent, step.link = first, "trace"
