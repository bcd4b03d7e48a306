"""From the records of several servers and the authority to what happened: who asked whom, acting for whom, with what.

A user's request crosses zones: at each of them it is judged when it comes in and, where the zone calls another one,
when it goes out; there its token is exchanged at the authority for one of the next zone. Every record tells digests of
the token that came and of the one that was made of it, so a chain holds without anybody's word for it:

    token issued ─▶ decision (edge) ─▶ exchange ─▶ decision (next zone) ─▶ exchange ─▶ decision … ─▶ judged, quarantined

1. Steps are put below what they follow from (`reconstruct_links`): by our own span ids, by token digests, by decision
   ids; by the trace id alone where nothing else is known, and then it says so, because a caller chooses its trace id.
2. What should be there and is not, and what cannot be true together, is told (`reconstruct_checks`).

Pure: records in, a story out. Records are not believed to be well formed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.audit.reconstruct_checks import remarks
from extauthz.audit.reconstruct_links import linked
from extauthz.audit.reconstruct_model import Evidence, Remark, Step, Story

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Evidence", "Remark", "Step", "Story", "reconstruct"]


def reconstruct(evidence: Iterable[Evidence], decision_id: str, further: Iterable[Remark] = ()) -> Story | None:
    """None: no record of this decision is among the evidence. `further`: what whoever gathered it has to say."""
    given = _once(evidence)
    asked = [one for one in given if one.decision_id == decision_id]
    if not asked:
        return None
    first = next((one for one in asked if one.kind == "decision"), asked[0])
    roots = linked(given, first.trace_id)  # 1
    wanted = next(step for root in roots for step in root.walk() if step.evidence is first)
    top = [wanted, *wanted.above()][-1]
    ordered = (top, *(root for root in roots if root is not top))
    found = [*further, *remarks(ordered, first.trace_id)]  # 2
    return Story(decision_id, first.trace_id, ordered, tuple(found))


def _once(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Each record once, also when a directory was given twice; by time."""
    found: dict[tuple[str, str], Evidence] = {}
    for one in evidence:
        found.setdefault((one.name, str(one.record.get("chain", id(one)))), one)
    return sorted(found.values(), key=lambda one: (one.time, one.name))
