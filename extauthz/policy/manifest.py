"""A policy bundle's `.manifest`: OPA's own members, and ours below `metadata.extauthz`.

    {"revision": "…", "roots": ["extauthz"], "rego_version": 1,
     "metadata": {"extauthz": {"sequence": 7, "entrypoints": […], "projection": {"<entrypoint>": ["subject.id", …]}}}}

`sequence` orders the bundles of one policy: an older one is refused. `projection` tells reviewers what each entrypoint
reads; what is served is analysed again by the OPA that serves it, so nothing is taken from here on trust.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz import strict_json
from extauthz.policy.archive import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 4 * 1024**2
MAX_ROOTS: Final = 256
MAX_SEQUENCE: Final = 2**53
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/@-]{0,127}")
_ROOT: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*)?")
_OURS: Final = frozenset({"revision", "roots", "rego_version", "metadata"})
_REFUSED: Final = {"wasm": "Wasm modules", "file_rego_versions": "files of several Rego versions"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """`revision` is empty when none is declared; `sequence` None likewise."""

    revision: str = ""
    roots: tuple[str, ...] = ("",)
    sequence: int | None = None
    entrypoints: tuple[str, ...] = ()
    projection: Mapping[str, Any] = field(default_factory=dict)

    def dump(self) -> bytes:
        ours: dict[str, Any] = {"entrypoints": self.entrypoints, "projection": self.projection}
        if self.sequence is not None:
            ours["sequence"] = self.sequence
        return orjson.dumps(
            {"revision": self.revision, "roots": self.roots, "rego_version": 1, "metadata": {"extauthz": ours}},
            option=orjson.OPT_SORT_KEYS,
        )


def read(content: bytes | None) -> Manifest:
    """A bundle without a manifest may define everything and has no sequence. Raises BundleRefused."""
    if content is None:
        return Manifest()
    try:
        document = strict_json.parse(content, max_bytes=MAX_BYTES, max_depth=32).root
    except strict_json.NotStrict as error:
        raise BundleRefused(f"has a damaged .manifest: {error}") from None
    if not isinstance(document, dict):
        raise BundleRefused("has a .manifest that is not an object")
    for name, what in _REFUSED.items():
        if document.get(name):
            raise BundleRefused(f"has {what}, which are not supported", "build it with target rego and Rego v1")
    if document.get("rego_version", 1) != 1:
        raise BundleRefused("is written in Rego v0", "convert it with `opa fmt --rego-v1`")
    metadata = document.get("metadata") or {}
    ours = metadata.get("extauthz") if isinstance(metadata, dict) else None
    ours = ours if isinstance(ours, dict) else {}
    entrypoints, projection = ours.get("entrypoints"), ours.get("projection")
    return Manifest(
        _revision(document.get("revision", "")),
        _roots(document.get("roots")),
        _sequence(ours.get("sequence")),
        tuple(map(str, entrypoints)) if isinstance(entrypoints, list) else (),
        projection if isinstance(projection, dict) else {},
    )


def _revision(value: Any) -> str:
    if value != "" and not (isinstance(value, str) and _REVISION.fullmatch(value)):
        raise BundleRefused("has a revision that cannot be used", "use letters, digits and ._:+/@- (128 at most)")
    return str(value)


def _roots(value: Any) -> tuple[str, ...]:
    if value is None:
        return ("",)
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ROOTS:
        raise BundleRefused("has roots that are not a list, or an empty one", "name what it defines, or leave them out")
    roots = []
    for root in value:
        if not isinstance(root, str) or not _ROOT.fullmatch(root.strip("/")):
            raise BundleRefused("has a root that is not a path below data", "write a/b for data.a.b")
        roots.append(root.strip("/"))
    return tuple(roots)


def _sequence(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or value is True or not 0 <= value < MAX_SEQUENCE):
        raise BundleRefused("has a sequence that is not a whole number", "count up from 1")
    return value
