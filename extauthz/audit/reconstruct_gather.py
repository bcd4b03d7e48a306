"""Gathers, from several audit directories, the records that belong to a decision.

1. The decision's own records; every record of its traces, up to a bound.
2. Who made the tokens that were shown, whenever that was: an exchanged token is kept and used for other requests.
3. Whoever passes no trace on begins another one: decisions of other traces are taken where a token was shown by each
   workload once, and by a few only. A token that is kept and used for many requests says nothing: that is told.
4. Judgements, quarantines and alerts of every decision that was found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from extauthz.audit.query import Query
from extauthz.audit.reconstruct_model import Evidence, Remark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.audit.search import Archive, Match

MOST: Final = 5_000
"""Records of one story; a trace id is the caller's word, so somebody may use one for everything."""
_ROUNDS: Final = 16
"""Hops to either side."""
_FEW: Final = 4
_TOKENS: Final = ("token.*", "identity.issued", "revocation.*")
_DECISIONS: Final = ("decision.allowed", "decision.denied")


def gather(archive: Archive, decision_id: str) -> tuple[list[Evidence], list[Remark]]:
    """Nothing: there is no such record. Raises AuditError."""
    found = _Gathered(archive)
    found.add(Query(decision_id=(decision_id,)))
    for _ in range(_ROUNDS):
        before = len(found.evidence)
        found.traces()  # 1
        found.makers()  # 2
        found.others()  # 3
        found.afterwards()  # 4
        if len(found.evidence) == before:
            break
    return list(found.evidence.values()), found.remarks


class _Gathered:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.evidence: dict[tuple[str, int], Evidence] = {}
        self.remarks: list[Remark] = []
        self._asked: set[tuple[str, str]] = set()

    def add(self, query: Query) -> None:
        for match in self._archive.find(query):
            if len(self.evidence) >= MOST:
                remark = Remark("note", "", f"there are more than {MOST} records of it; the others are left out")
                if remark not in self.remarks:
                    self.remarks.append(remark)
                return
            self._take(match)

    def traces(self) -> None:
        for trace in self._new("trace", (one.trace_id for one in self._told() if one.kind == "decision")):
            self.add(Query(trace_id=(trace,), order="oldest"))

    def makers(self) -> None:
        for digest in self._new("maker", (one.presented for one in self._told())):
            self.add(Query(made=(digest,), event=_TOKENS, order="oldest"))
        for digest in self._new("revoked", (one.made for one in self._told() if one.kind == "decision")):
            self.add(Query(made=(digest,), event=_TOKENS, order="oldest"))

    def others(self) -> None:
        decisions = [one for one in self._told() if one.kind == "decision"]
        shown, given = {one.presented for one in decisions}, {one.made for one in decisions}
        made = given | {one.made for one in self._told() if one.kind == "exchange"}
        came = {one.presented for one in decisions if one.acting}
        for digest in self._new("use", shown | made):
            query = Query(token=(digest,), event=_DECISIONS)
            self._few(query, digest, "shown" if digest not in shown else "")
        for digest in self._new("gift", came):
            self._few(
                Query(made=(digest,), event=_DECISIONS), digest, "" if digest in given else "given to an upstream"
            )

    def afterwards(self) -> None:
        for decision in self._new("decision", (one.decision_id for one in self._told())):
            self.add(Query(decision_id=(decision,), order="oldest"))

    def _few(self, query: Query, digest: str, what: str) -> None:
        """Step 3. `what` is told where there are too many; empty: this trace has an answer already."""
        matches = list(self._archive.find(replace(query, limit=_FEW + 1)))
        workloads = [match.hit.workload for match in matches]
        if len(matches) <= _FEW and len(set(workloads)) == len(workloads):
            for match in matches:
                self._take(match)
        elif what:
            text = f"token {digest} was {what} in several other traces; which of them was this request cannot be told"
            self.remarks.append(Remark("note", "", text))

    def _told(self) -> list[Evidence]:
        return list(self.evidence.values())

    def _new(self, kind: str, values: Iterable[str]) -> list[str]:
        """Those that were not asked for before."""
        new = [value for value in dict.fromkeys(values) if value and (kind, value) not in self._asked]
        self._asked.update((kind, value) for value in new)
        return new

    def _take(self, match: Match) -> None:
        key = (str(match.directory), match.hit.at)
        if key not in self.evidence:
            found = match.read()
            if found.record is not None:
                self.evidence[key] = Evidence(found.record, str(match.directory), found.file, found.intact)
