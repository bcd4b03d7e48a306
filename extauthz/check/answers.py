"""Allows that come back: the same decision on the same route for the same caller differs only in its decision id.

1. Such an answer is written whole once (`respond.allow`) and cut at its decision id. The id is 122 random bits made
   after the request had come, so it stands nowhere but where we wrote it: in one header and in the metadata.
2. It is given again only for the very same objects: the decision that the decision cache gave, the subject that the
   token cache gave, the workload and the route. They are kept with the answer, so their identities stay theirs.
3. Never kept: an answer with a credential in it, one for a request that carries names of ours (they are removed by
   name), or one whose decision was not cached.
4. Refusals that come by the thousand, when load is shed, are kept as well: for a route and one of the few denials that
   `admission` deals out, nothing but the decision id is another one's, since nobody has been identified yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.lru import SegmentedLru

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.model import Allow, Deny, Subject, Workload

__all__ = ["Answers", "Key", "key"]

MAX_ANSWERS: Final = 4096
_IDS: Final = 2
"""Where an allow has its decision id: a header and the metadata …"""
_REFUSED_IDS: Final = 3
"""… and a denial in its body as well."""

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
        self._keep(known, answer, decision_id, _IDS, alive)

    def refused(
        self,
        route: object,
        refusal: Deny,
        decision_id: str,
        make: Callable[[], bytes],
        *,
        grpc: bool,
    ) -> bytes:
        """Law 4. `make` writes the answer where there is none yet; `grpc`: the caller speaks gRPC."""
        known = (id(route), id(refusal), int(grpc), 0, "")
        answer = self.get(known, decision_id)
        if answer is None:
            answer = make()
            self._keep(known, answer, decision_id, _REFUSED_IDS, (route, refusal))
        return answer

    def _keep(self, known: Key, answer: bytes, decision_id: str, ids: int, alive: tuple[object, ...]) -> None:
        pieces = answer.split(decision_id.encode())
        if len(pieces) == ids + 1:
            self._kept.put(known, (pieces, alive))
