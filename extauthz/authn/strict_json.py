"""JSON objects from strangers: one reading only, and bounded (RFC 8259, RFC 7515 section 4, RFC 8725 section 3.7).

Refused: invalid UTF-8, duplicate members, NaN and Infinity, integers over 19 digits, numbers that overflow, lone
surrogates, deep nesting, too many values, and anything but an object at the top.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

MAX_DIGITS: Final = 19


class _Refused(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused
    return members


def _constant(_: str) -> NoReturn:
    raise _Refused


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _Refused
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_number
)


def parse_object(raw: bytes, *, max_depth: int, max_values: int) -> dict[str, Any] | None:
    """The object, or None when anything about it is refused. `max_values` counts members and array items, nested."""
    # Every value but the first follows a comma or an opening bracket, and depth needs brackets: counting bytes bounds
    # both before the decoder recurses. Those inside strings count too, so the first bound is four times wider.
    brackets = raw.count(b"{") + raw.count(b"[")
    most_values = brackets + raw.count(b",")
    if most_values > 4 * max_values:
        return None
    try:
        text = raw.decode()
        value, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except (ValueError, RecursionError):  # UnicodeDecodeError, JSONDecodeError and ours are ValueErrors
        return None
    if text[end:].strip(" \t\r\n") or not isinstance(value, dict):
        return None
    if (brackets > max_depth or most_values > max_values) and not _bounded(value, max_depth, max_values):
        return None
    # Lone surrogates, which UTF-8 cannot spell, can only come from an escape.
    return value if b"\\u" not in raw or _encodable(value) else None


def _bounded(root: dict[str, Any], max_depth: int, max_values: int) -> bool:
    level: list[Any] = [root]
    values = 0
    for _ in range(max_depth):
        inside = [value for node in level for value in (node.values() if isinstance(node, dict) else node)]
        values += len(inside)
        if values > max_values:
            return False
        level = [value for value in inside if isinstance(value, dict | list)]
        if not level:
            return True
    return False


def _encodable(value: dict[str, Any]) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
