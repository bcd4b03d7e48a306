"""What a chain of steps lacks, and where its records cannot both be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.audit import index_facts as facts
from extauthz.audit.reconstruct_model import Remark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extauthz.audit.reconstruct_model import Step

_JUDGED: Final = "decision.judged"


def remarks(roots: Sequence[Step], trace_id: str) -> list[Remark]:
    """In the order of the tree."""
    steps = [step for root in roots for step in root.walk()]
    brought = {step.evidence.presented for step in steps if step.evidence.kind == "decision"}
    born = {step.evidence.made for step in steps if step.evidence.kind in {"issued", "exchange"}}
    given = {step.evidence.made for step in steps if step.evidence.kind == "decision"}
    found: list[Remark] = []
    for step in steps:
        found += _integrity(step)
        if step.evidence.kind == "decision":
            found += _exchange(step, born, brought)
            found += _origin(step, born | given)
            found += _judgement(step)
            found += _chain(step)
        elif step.evidence.kind == "exchange":
            found += _use(step, given, brought)
            found += _descent(step)
        found += _order(step, trace_id)
    return found


def _integrity(step: Step) -> Iterator[Remark]:
    if not step.evidence.intact:
        yield Remark("contradiction", step.evidence.place, "the record is not what it was when it was indexed: verify")


def _exchange(step: Step, born: set[str], brought: set[str]) -> Iterator[Remark]:
    """The decision gave the upstream another token: the authority must know it, and somebody should have shown it."""
    one = step.evidence
    if not one.made:
        return
    if one.made not in born:
        text = f"the authority's record of the exchange that made token {one.made}: is its directory given?"
        yield Remark("missing", one.place, text)
        if one.made not in brought:
            yield _never_shown(one.place, one.made, facts.audience(one.record))


def _use(step: Step, given: set[str], brought: set[str]) -> Iterator[Remark]:
    one = step.evidence
    if one.made not in given:
        text = f"the decision that token {one.made} was exchanged for: is that server's directory given?"
        yield Remark("missing", one.place, text)
    if one.made not in brought:
        yield _never_shown(one.place, one.made, facts.audience(one.record))


def _never_shown(at: str, digest: str, audience: str) -> Remark:
    where = audience or "its audience"
    return Remark("missing", at, f"token {digest} shown to {where}: it was not called, or its directory is not given")


def _origin(step: Step, known: set[str]) -> Iterator[Remark]:
    """Whoever acts for a subject got its token by an exchange; that is a hop before this one."""
    one = step.evidence
    if one.acting and one.presented not in known:
        hops = " ← ".join(one.acting)
        text = f"the hop before: token {one.presented or '?'} was exchanged ({hops} acting), and no record tells of it"
        yield Remark("missing", one.place, text)


def _judgement(step: Step) -> Iterator[Remark]:
    one = step.evidence
    if one.record.get("mode") == "async" and not any(child.evidence.event == _JUDGED for child in step.children):
        yield Remark("missing", one.place, "its judgement: it was let through to be judged afterwards, and is not yet")


def _chain(step: Step) -> Iterator[Remark]:
    """What the token says must be what the exchange that made it said."""
    one = step.evidence
    made = next((above.evidence for above in step.above() if above.evidence.made == one.presented), None)
    if made is None or not one.presented:
        return
    if made.subject and one.subject and made.subject != one.subject:
        text = f"token {one.presented} was made for {made.subject} ({made.place}) and proved {one.subject}"
        yield Remark("contradiction", one.place, text)
    if made.kind == "exchange" and made.acting and one.acting and made.acting != one.acting:
        text = f"acting are {' ← '.join(one.acting)}, and the exchange {made.place} said {' ← '.join(made.acting)}"
        yield Remark("contradiction", one.place, text)
    ends = made.record.get("expires_at")
    if type(ends) is int and one.allowed and one.time > ends * 1000:
        late = one.time - ends * 1000
        yield Remark("contradiction", one.place, f"token {one.presented} was accepted {late} ms after its end")


def _descent(step: Step) -> Iterator[Remark]:
    """An exchanged token names its ancestors; the one that was exchanged is among them."""
    one = step.evidence
    ancestors = facts.texts(one.record.get("ancestors"))
    shown = "" if step.parent is None else facts.text(facts.subject(step.parent.evidence.record).get("token_id"))
    if ancestors and shown and shown not in ancestors and step.link == "token":
        yield Remark(
            "contradiction", one.place, f"it names {' ← '.join(reversed(ancestors))} as ancestors, and not {shown}"
        )


def _order(step: Step, trace_id: str) -> Iterator[Remark]:
    """A cause comes first. A token that was exchanged for an earlier request may be older than the decision."""
    one = step.evidence
    if step.after is None or step.parent is None:
        return
    kept = one.kind == "exchange" and _cached(step.parent)
    if kept and one.trace_id != trace_id:
        yield Remark("note", one.place, f"token {one.made} was exchanged for an earlier request and kept")
    elif step.after < 0 and not kept and step.link != "trace":
        text = f"it is {-step.after} ms before {step.parent.evidence.place}, which it follows from: the clocks disagree"
        yield Remark("contradiction", one.place, text)


def _cached(step: Step) -> bool:
    return facts.part(step.evidence.record, "cached").get("exchange") is True
