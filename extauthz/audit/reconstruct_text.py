"""A story as JSON values, and as a tree of lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz.audit import index_facts as facts
from extauthz.audit import search_words as words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.audit.reconstruct_model import Remark, Step, Story

_HEADINGS: Final = {"missing": "Missing", "contradiction": "Contradictions", "note": "Notes"}
_COPIED: Final = ("action", "resource", "result", "layer", "code", "mode", "degraded", "failure", "break_glass")
_CREDENTIAL: Final = frozenset({"credential", "issuer", "token", "token_id", "purpose"})
_LINKS: Final = {"trace": ", linked by the trace id alone, which a caller chooses", "span": ", linked by its span"}
_DEEPEST: Final = 90
"""Characters in front of a line."""


def document(story: Story) -> dict[str, Any]:
    """JSON values. The tree is flat, so that nobody's chain is too deep: `below` is the number of the step above."""
    steps = list(story.steps())
    numbers = {step: number for number, step in enumerate(steps)}
    return {
        "decision_id": story.decision_id,
        "trace_id": story.trace_id,
        "whole": story.whole,
        "steps": [
            {"step": number, "below": None if step.parent is None else numbers[step.parent], **_document(step)}
            for step, number in numbers.items()
        ],
        "remarks": [{"kind": one.kind, "record": one.at, "text": one.text} for one in story.remarks],
    }


def _document(step: Step) -> dict[str, Any]:
    one, record = step.evidence, step.evidence.record
    return {
        "event": one.event,
        "record": one.name,
        "directory": one.directory,
        "file": one.file,
        "intact": one.intact,
        "link": step.link,
        "timestamp": record.get("timestamp"),
        "after_ms": step.after,
        "decision_id": one.decision_id,
        "trace_id": one.trace_id,
        "who": one.subject,
        "acting": list(one.acting),
        "workload": one.workload,
        "route": facts.text(facts.route(record)),
        "credential": {name: value for name, value in facts.subject(record).items() if name in _CREDENTIAL},
        "policy": words.policy(record),
        "exchange": _exchange(step),
        "reasons": words.reasons(record),
        **{name: record[name] for name in _COPIED if name in record},
    }


def _exchange(step: Step) -> dict[str, Any] | None:
    """The token that was made: for whom, for what, of which."""
    record = step.evidence.record
    if not step.evidence.made:
        return None
    said = facts.part(record, "exchange") or record
    names = ("audience", "purpose", "scopes", "actor", "token_id", "jti", "ancestors", "expires_at")
    return {
        "token": step.evidence.made,
        "of": step.evidence.presented,
        "cached": facts.part(record, "cached").get("exchange") is True,
        **{name: said[name] for name in names if name in said},
    }


def lines(story: Story) -> Iterator[str]:
    """Not yet safe for a terminal: the words are others'."""
    yield f"decision {story.decision_id}, trace {story.trace_id or '-'}"
    for number, root in enumerate(story.roots):
        if number == 1:
            yield ""
            yield "also in this trace, or about its tokens:"
        yield from _tree(root, story.decision_id)
    for kind, heading in _HEADINGS.items():
        remarks = [one for one in story.remarks if one.kind == kind]
        if remarks:
            yield ""
            yield f"{heading}:"
            yield from (f"  {_remark(one)}" for one in remarks)
    if story.whole:
        yield ""
        yield "nothing is missing, nothing contradicts"


def _remark(one: Remark) -> str:
    return f"{one.at}: {one.text}" if one.at else one.text


def _tree(root: Step, asked: str) -> Iterator[str]:
    """With the branches of a file tree; without recursion, for a chain may be as long as somebody likes."""
    waiting: list[tuple[Step, str, str]] = [(root, "", "")]
    while waiting:
        step, first, rest = waiting.pop()
        head, *body = _told(step, asked)
        yield first + head
        below = rest + ("│  " if step.children else "   ")
        yield from (below + line for line in body)
        last = len(step.children) - 1
        for number in range(last, -1, -1):
            branch, room = ("└─ ", "   ") if number == last else ("├─ ", "│  ")
            waiting.append((step.children[number], rest + branch, (rest + room)[-_DEEPEST:]))


def _told(step: Step, asked: str) -> Iterator[str]:
    one, record = step.evidence, step.evidence.record
    when = facts.text(record.get("timestamp"))[11:23] or "?"
    gap = "" if step.after is None else f" ({step.after:+d} ms)"
    mark = "  ◀ asked for" if one.decision_id == asked and one.kind == "decision" else ""
    yield f"{when}{gap}  {one.event}  {one.decision_id or one.name}{mark}"
    for name, text in words.described(record):
        if name in _SHOWN and text:
            yield f"{name}: {text}"
    if len(one.acting):
        yield f"acting for it: {' → '.join(reversed(one.acting))}"
    changed = "" if one.intact else "  CHANGED since it was indexed"
    yield f"record: {one.place} in {one.file or '-'}{_LINKS.get(step.link, '')}{changed}"


_SHOWN: Final = frozenset(
    {"who", "workload", "request", "route", "action", "resource", "decision", "reason", "policy", "exchange", "mode"}
    | {"failure", "break glass", "judgement", "quarantine", "kind", "value", "until"}
)
