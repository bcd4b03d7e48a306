"""JSON that every reader reads the same way (RFC 8259), within bounds.

A policy judges the document that we read; the upstream acts on the one that it reads. So whatever two readers may
take differently is refused:

1. more bytes than allowed; anything but UTF-8, a byte order mark included;
2. deeper nesting than allowed, found before anything is built;
3. an object that names a member twice (also when one name is escaped);
4. NaN and Infinity, a number that overflows, underflows to zero, or has more digits than a double holds;
5. an integer beyond 64 bits;
6. on the way to a picked value: a member whose name differs from the wanted one only in case.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Sequence


class NotStrict(ExtauthzError):
    """The document is refused. The text quotes nothing of it."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""No such member: not the same as null."""

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\[\s\S][^"\\]*)*"')
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS: Final = 17
"""Decimal digits that a double holds."""
_LONGEST_NUMBER: Final = 40
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document: any value, also null."""

    root: Any


def parse(body: bytes, *, max_bytes: int, max_depth: int) -> Document:
    """Raises NotStrict and nothing else."""
    fits(body, max_bytes=max_bytes, max_depth=max_depth)
    try:
        return Document(_DECODER.decode(body.decode()))
    except UnicodeDecodeError:
        raise NotStrict("the document is not UTF-8") from None
    except (ValueError, RecursionError):  # JSONDecodeError is a ValueError
        raise NotStrict("the document is not JSON") from None


def fits(body: bytes, *, max_bytes: int, max_depth: int) -> None:
    """Whether a document is within bounds, before it is read. Raises NotStrict."""
    if len(body) > max_bytes:
        raise NotStrict("the document is too large")  # 1
    if _depth(body, max_depth) > max_depth:
        raise NotStrict("the document is nested too deeply")  # 2


def _depth(body: bytes, enough: int) -> int:
    """Nesting outside strings; only counted when there are enough brackets to matter."""
    opened = body.count(b"[") + body.count(b"{")
    if opened <= enough:
        return opened
    depth = deepest = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            deepest = max(depth, deepest)
        else:
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("an object names a member twice")  # 3
    return members


def _constant(_: str) -> Any:
    raise NotStrict("NaN and Infinity are not JSON")  # 4


def _float(text: str) -> float:
    mantissa = text.lower().partition("e")[0]
    value = float(text)
    if (
        len(text) > _LONGEST_NUMBER
        or not math.isfinite(value)
        or (value == 0 and mantissa.strip("-0."))
        or len(mantissa.replace(".", "").strip("-0")) > _DIGITS
    ):
        raise NotStrict("a number is out of range or has too many digits")  # 4
    return value


def _int(text: str) -> int:
    if len(text) > len(str(-_INT64)) or not -_INT64 <= (value := int(text)) < _INT64:
        raise NotStrict("an integer is out of range")  # 5
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant, strict=True
)


class Pointer:
    """A JSON pointer (RFC 6901), taken apart once. Raises NotStrict for text that is none."""

    __slots__ = ("_tokens",)

    def __init__(self, text: str) -> None:
        if text and not text.startswith("/"):
            raise NotStrict("not a JSON pointer")
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]
        self._tokens: Sequence[tuple[str, str, int, int]] = [
            (token, token.casefold(), len(token), _index(token)) for token in tokens
        ]

    def find(self, node: Any) -> Any:
        """The value or MISSING. Raises NotStrict where a look-alike name stands beside or instead of the wanted one."""
        for token, folded, length, index in self._tokens:
            if node.__class__ is dict:
                for key in node:  # 6: equal length first, for speed
                    if len(key) == length and key != token and key.casefold() == folded:
                        raise NotStrict("a member's name differs from the expected one only in case")
                node = node.get(token, MISSING)
                if node is MISSING:
                    return MISSING
            elif node.__class__ is list and 0 <= index < len(node):
                node = node[index]
            else:
                return MISSING
        return node


def _index(token: str) -> int:
    return int(token) if re.fullmatch(r"0|[1-9][0-9]{0,8}", token) else -1
