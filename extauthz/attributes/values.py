"""Values as the policy may rely on them: of the declared type, and bounded.

A converter takes what was found and gives the value, or raises `Unfit` with a text that quotes nothing of it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from extauthz.attributes.settings import MAX_INTEGER
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extauthz.attributes.settings import ValueRule

    Converter = Callable[[Any], Any]


class Unfit(ExtauthzError):
    """A value is not what its rule asks for."""


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?")
_DIGITS: Final = 17
_LIST: Final = list
"""Below, `list` names a method."""


def from_json(rule: ValueRule) -> Converter:
    """A converter for JSON values: nothing is coerced, so "5" is no number and 1 no boolean."""
    converter: Converter = getattr(_Json(rule), rule.type)
    return converter


def from_text(rule: ValueRule) -> Converter:
    """A converter for text from headers, path and query. For a list it takes the list of texts."""
    converter: Converter = getattr(_Text(rule), rule.type)
    return converter


class _Json:
    """One method for each type of `settings.ValueType`."""

    __slots__ = ("_length", "_most")

    def __init__(self, rule: ValueRule) -> None:
        self._length, self._most = rule.max_length, rule.max_items

    def string(self, value: Any) -> str:
        if value.__class__ is not str:
            raise Unfit("a string is expected")
        text: str = value
        return text if len(text) <= self._length and text.isascii() else _bounded(text, self._length)

    def integer(self, value: Any) -> int:
        if value.__class__ is not int or not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Unfit("an integer is expected, at most 2^53 - 1")
        return int(value)

    def number(self, value: Any) -> int | float:
        if value.__class__ is float and math.isfinite(value):
            return float(value)
        if value.__class__ is int and -MAX_INTEGER <= value <= MAX_INTEGER:
            return int(value)
        raise Unfit("a number is expected, at most 2^53 - 1")

    def boolean(self, value: Any) -> bool:
        if value is True or value is False:
            return bool(value)
        raise Unfit("a boolean is expected")

    def list(self, value: Any) -> Sequence[Any]:
        if value.__class__ is not _LIST or len(value) > self._most:
            raise Unfit(f"a list of at most {self._most} items is expected")
        return [self._item(item) for item in value]

    def _item(self, item: Any) -> Any:
        if item.__class__ is str:
            return self.string(item)
        if item is True or item is False:
            return item
        if item.__class__ is int or item.__class__ is float:
            return self.number(item)
        raise Unfit("a list holds texts, numbers and booleans")


class _Text:
    """One method for each type of `settings.ValueType`."""

    __slots__ = ("_length", "_most")

    def __init__(self, rule: ValueRule) -> None:
        self._length, self._most = rule.max_length, rule.max_items

    def string(self, text: str) -> str:
        if _CONTROL.search(text):
            raise Unfit("control characters are refused")
        return _bounded(text, self._length)

    def integer(self, text: str) -> int:
        if not _INTEGER.fullmatch(text) or abs(value := int(text)) > MAX_INTEGER:
            raise Unfit("an integer is expected, at most 2^53 - 1")
        return value

    def number(self, text: str) -> int | float:
        if not _NUMBER.fullmatch(text):
            raise Unfit("a number is expected, without exponent")
        if "." not in text:
            return self.integer(text)
        if len(text.replace(".", "").strip("-0")) > _DIGITS:
            raise Unfit("the number has too many digits")
        return float(text)

    def boolean(self, text: str) -> bool:
        if text in {"true", "false"}:
            return text == "true"
        raise Unfit("true or false is expected")

    def list(self, texts: Sequence[str]) -> Sequence[str]:
        if len(texts) > self._most:
            raise Unfit(f"a list of at most {self._most} items is expected")
        return [self.string(text) for text in texts]


def _bounded(text: str, length: int) -> str:
    if len(text) > length:
        raise Unfit(f"at most {length} characters are expected")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("half of a surrogate pair is no character") from None
    return text
