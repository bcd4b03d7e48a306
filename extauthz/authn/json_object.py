"""JSON objects from strangers, as tokens, key sets and metadata hold them: `strict_json` with a bound on the number of
values, an object at the top, and nothing that UTF-8 cannot spell (RFC 8259, RFC 7515 section 4, RFC 8725 section 3.7).
"""

from __future__ import annotations

import json
from typing import Any

from extauthz import strict_json


def parse_object(raw: bytes, *, max_depth: int, max_values: int) -> dict[str, Any] | None:
    """The object, or None when anything about it is refused. `max_values` counts members and array items, nested."""
    # Every value but the first follows a comma or an opening bracket: counting bytes bounds the values before the
    # decoder builds any. Those inside strings count too, so this bound is four times wider than the exact one below.
    most_values = raw.count(b"{") + raw.count(b"[") + raw.count(b",")
    if most_values > 4 * max_values:
        return None
    try:
        value = strict_json.parse(raw, max_bytes=len(raw), max_depth=max_depth).root
    except strict_json.NotStrict:
        return None
    if not isinstance(value, dict) or (most_values > max_values and _values(value) > max_values):
        return None
    # Lone surrogates, which UTF-8 cannot spell, can only come from an escape.
    return value if b"\\u" not in raw or _encodable(value) else None


def _values(node: Any) -> int:
    """Members and items, nested; `parse` has bounded the depth."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return sum(1 + _values(value) for value in inside)


def _encodable(value: dict[str, Any]) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
