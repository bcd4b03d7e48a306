"""`x-forwarded-client-cert`: a strict parser (Envoy, HTTP connection manager, "x-forwarded-client-cert").

The header is never an identity by itself: only Envoy's word about the peer is, and the header must not contradict it.
The whole header must parse; only its last element, the one that the nearest proxy wrote, is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_LENGTH: Final = 64 * 1024
"""Envoy's own limit on all request headers together is 60 KiB by default."""
MAX_ELEMENTS: Final = 16
MAX_PAIRS: Final = 64
_REPEATABLE: Final = frozenset({"by", "uri", "dns"})
_SINGLE: Final = frozenset({"hash", "cert", "chain", "subject"})
# A quoted value: Envoy escapes only the quote; any other backslash stands for itself (RFC 2253 subjects hold them).
# The separator is taken with the pair, so that nothing may stand between a value and the next `;` or `,`.
_PAIR: Final = re.compile(
    r"""([A-Za-z]{2,7})=(?:"((?:[^"\\\x00-\x1f\x7f]|\\"|\\(?!"))*)"|([!#-+\--:<>-~]*))([;,]|\Z)""",
)
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Element:
    """One hop's certificate. `hash` is lower-case hex SHA-256 of the DER; empty values are dropped."""

    by: tuple[str, ...]
    hash: str
    subject: str
    uri: tuple[str, ...]
    dns: tuple[str, ...]


def last(header: str) -> Element | None:
    """The last element, or None when any part of the header is malformed or over a bound."""
    if not header or len(header) > MAX_LENGTH or not header.isascii():
        return None
    elements = 1
    pairs = 0
    values: dict[str, list[str]] = {}
    at = 0
    while True:
        match = _PAIR.match(header, at)
        pairs += 1
        if match is None or pairs > MAX_PAIRS or not _take(values, match):
            return None
        at = match.end()
        if match[4] == "":
            return _element(values)
        if match[4] == ",":
            elements += 1
            if elements > MAX_ELEMENTS or _element(values) is None:
                return None
            values = {}


def _take(values: dict[str, list[str]], match: re.Match[str]) -> bool:
    key = match[1].lower()
    value = match[2].replace('\\"', '"') if match[2] is not None else match[3]
    if key in _SINGLE:
        if key in values:
            return False
    elif key not in _REPEATABLE:
        return False
    values.setdefault(key, []).append(value)
    return True


def _element(values: dict[str, list[str]]) -> Element | None:
    digest = values.get("hash", [""])[0]
    if not _HASH.fullmatch(digest):
        return None
    return Element(
        by=tuple(filter(None, values.get("by", ()))),
        hash=digest.lower(),
        subject=values.get("subject", [""])[0],
        uri=tuple(filter(None, values.get("uri", ()))),
        dns=tuple(filter(None, values.get("dns", ()))),
    )
