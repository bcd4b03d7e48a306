"""JSON as opa-envoy-plugin reads bodies and OPA reads input: numbers keep their digits, a repeated member's last wins.

A number that Python would round stays text (`Number`) until `encode` writes it, so `12345678901234567890.10` reaches
the policy as it was sent. Lone surrogates become U+FFFD, as in Go. Nesting is bounded, which Go does at 10,000 levels.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from extauthz.check.compat.go_text import Unreadable, text
from extauthz.errors import EngineFault
from extauthz.strict_json import NotStrict, fits

__all__ = ["MAX_DEPTH", "Number", "encode", "parse"]

MAX_DEPTH: Final = 200
"""Levels of a body: orjson writes 254."""
_SAFE_DIGITS: Final = 18
"""An integer of so many characters fits into 64 bits."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_LONE: Final = re.compile("[\ud800-\udfff]")


class Number:
    """A JSON number by its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"


def parse(document: str | bytes) -> Any:
    """Any JSON value. Raises Unreadable."""
    if isinstance(document, bytes):
        document = text(document)
    try:
        fits(document.encode(), max_bytes=4 * len(document), max_depth=MAX_DEPTH)
        value = _DECODER.decode(document)
    except (ValueError, RecursionError):  # JSONDecodeError is a ValueError
        raise Unreadable("the body is not JSON") from None
    except NotStrict:
        raise Unreadable(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    return _whole(value) if _SURROGATE.search(document) else value


def encode(document: Any) -> bytes:
    """The input document as JSON. Raises EngineFault (`engine.internal`)."""
    try:
        return orjson.dumps(document, default=_fragment)
    except orjson.JSONEncodeError:
        raise EngineFault("engine.internal", "the input document is not JSON") from None


def _fragment(value: Any) -> Any:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _int(digits: str) -> Any:
    return int(digits) if len(digits) <= _SAFE_DIGITS else Number(digits)


def _float(digits: str) -> Any:
    value = float(digits)
    return value if repr(value) == digits else Number(digits)


def _constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _whole(value: Any) -> Any:
    """Without lone surrogates; `json` has joined the pairs."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return value


_DECODER: Final = json.JSONDecoder(parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True)
