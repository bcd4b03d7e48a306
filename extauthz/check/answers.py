"""Allows that come back: the same decision on the same route for the same caller differs only in its decision id.

1. Such an answer is written whole once (`respond.allow`) and cut at its decision id. The id is 122 random bits made
   after the request had come, so it stands nowhere but where we wrote it: in one header and in the metadata.
2. It is given again only for the very same objects: the decision that the decision cache gave, the subject that the
   token cache gave, the workload and the route. They are kept with the answer, so their identities stay theirs.
3. Never kept: an answer with a credential in it, one for a request that carries names of ours (they are removed by
   name), or one whose decision was not cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.lru import SegmentedLru

if TYPE_CHECKING:
    from extauthz.model import Allow, Subject, Workload

__all__ = ["Answers", "Key", "key"]

MAX_ANSWERS: Final = 4096
_CUTS: Final = 3
"""Before, between and after the two decision ids."""

Key = tuple[int, int, int, int, str]


def key(route: object, decision: Allow, subject: Subject | None, workload: Workload | None, revision: str) -> Key:
    return (id(route), id(decision), id(subject), id(workload), revision)


class Answers:
    """One a pipeline. An entry is a few hundred bytes, beside objects that other caches hold as well."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: SegmentedLru[Key, tuple[list[bytes], tuple[object, ...]]] = SegmentedLru(MAX_ANSWERS)

    def get(self, known: Key, decision_id: str) -> bytes | None:
        kept = self._kept.get(known)
        return None if kept is None else decision_id.encode().join(kept[0])

    def keep(self, known: Key, answer: bytes, decision_id: str, *alive: object) -> None:
        """`alive`: the objects that `known` was made of."""
        pieces = answer.split(decision_id.encode())
        if len(pieces) == _CUTS:
            self._kept.put(known, (pieces, alive))
