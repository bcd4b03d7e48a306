"""SPIFFE IDs, path templates and patterns (SPIFFE-ID specification sections 2 and 4).

Nothing here takes a regular expression from the configuration: templates and patterns are plain segments with named
or unnamed holes, each of which covers exactly one segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


MAX_BYTES: Final = 2048
MAX_TRUST_DOMAIN: Final = 255
_ID: Final = re.compile(r"spiffe://([a-z0-9._-]+)((?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+)")
_SCHEME: Final = "spiffe://"
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload's SPIFFE ID: never a trust domain's own (empty path)."""

    text: str
    trust_domain: str
    segments: tuple[str, ...]


def parse(text: str) -> SpiffeId | None:
    """The ID, or None when `text` is not exactly a workload's SPIFFE ID.

    Refused with the grammar itself: upper-case scheme or domain, port, userinfo, query, fragment, percent-encoding,
    empty and dot segments, a trailing slash. All accepted characters are ASCII, so characters are bytes.
    """
    if len(text) > MAX_BYTES or (match := _ID.fullmatch(text)) is None or len(match[1]) > MAX_TRUST_DOMAIN:
        return None
    return SpiffeId(text, match[1], tuple(match[2][1:].split("/")))


class PathTemplate:
    """`/env/{environment}/ns/{namespace}/sa/{service}`: plain segments must be equal, a hole takes one segment."""

    __slots__ = ("_parts",)

    def __init__(self, template: str) -> None:
        self._parts = tuple(
            (segment[1:-1], "") if segment.startswith("{") else ("", segment) for segment in template[1:].split("/")
        )

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The named parts, or None when the path has another shape."""
        if len(segments) != len(self._parts):
            return None
        found: dict[str, str] = {}
        for (name, plain), segment in zip(self._parts, segments, strict=True):
            if name:
                found[name] = segment
            elif plain != segment:
                return None
        return found


class IdPatterns:
    """SPIFFE IDs, in which `*` stands for one whole path segment. A malformed pattern matches nothing."""

    __slots__ = ("_exact", "_holed")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._exact = frozenset(pattern for pattern in patterns if _ANY not in pattern)
        # Keyed by trust domain and depth, so that a lookup compares only patterns that can match at all.
        self._holed: dict[tuple[str, int], list[tuple[str, ...]]] = {}
        for pattern in patterns:
            domain, *path = pattern.removeprefix(_SCHEME).split("/")
            if _ANY in pattern and pattern.startswith(_SCHEME) and _ANY not in domain:
                self._holed.setdefault((domain, len(path)), []).append(tuple(path))

    def match(self, spiffe_id: str) -> bool:
        """`spiffe_id` must have gone through `parse`."""
        if spiffe_id in self._exact:
            return True
        if not self._holed:
            return False
        domain, *path = spiffe_id.removeprefix(_SCHEME).split("/")
        return any(
            all(wanted in (_ANY, segment) for wanted, segment in zip(pattern, path, strict=True))
            for pattern in self._holed.get((domain, len(path)), ())
        )
