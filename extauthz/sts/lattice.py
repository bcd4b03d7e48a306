"""Purposes, and which one is narrower than which: a directed graph without cycles.

A token is for one purpose. An exchange keeps it or follows the graph downwards; there is no way up, and none sideways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Lattice:
    """`narrower` maps a purpose to those directly below it. Raises ValueError for a cycle; the text names it."""

    __slots__ = ("_below",)

    def __init__(self, narrower: Mapping[str, Sequence[str]]) -> None:
        self._below: dict[str, frozenset[str]] = {}
        for purpose in narrower:
            self._close(purpose, narrower, ())

    def _close(self, purpose: str, narrower: Mapping[str, Sequence[str]], above: tuple[str, ...]) -> frozenset[str]:
        """Everything below `purpose`; `above` is the way that led here."""
        if purpose in above:
            raise ValueError(f"a cycle: {' > '.join((*above[above.index(purpose) :], purpose))}")
        known = self._below.get(purpose)
        if known is None:
            direct = narrower.get(purpose, ())
            deeper = (self._close(below, narrower, (*above, purpose)) for below in direct)
            known = self._below[purpose] = frozenset(direct).union(*deeper)
        return known

    def narrower(self, old: str, new: str) -> bool:
        """Whether `new` is `old` or below it. A purpose that the graph does not know only equals itself."""
        return new == old or new in self._below.get(old, ())
