"""Text as Go's standard library reads it: `net/url`, `mime` and `strconv`, where opa-envoy-plugin leans on them.

Bytes that are no UTF-8 become U+FFFD, one for each byte, as Go's JSON encoder writes them.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from extauthz.errors import ExtauthzError

__all__ = ["Unreadable", "media_type", "path_unescape", "query", "text", "whole_number"]

MAX_PARAMETERS: Final = 10_000
"""Parameters of a query; Go refuses more as well (GODEBUG urlmaxqueryparams)."""
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,64}", re.ASCII)
_INT64: Final = 2**63
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z{}-]+"  # noqa: S105 - mime's isTokenChar, no secret
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?")
_PARAMETER: Final = re.compile(
    rf'\s*;\s*(?P<name>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\\r\n]|\\[^\r\n])*)"|(?P<plain>{_TOKEN}))'
)
_QUOTED_PAIR: Final = re.compile(r'\\([()<>@,;:\\"/\[\]?=])')
"""Only these lose their backslash: others are of Windows paths (mime.consumeValue)."""


class Unreadable(ExtauthzError):
    """The request cannot be turned into an input document. The text quotes nothing of it."""


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8.sub("\ufffd", raw.decode(errors="surrogateescape"))


def _unescape(value: str) -> str:
    if "%" not in value:
        return value
    if _BAD_ESCAPE.search(value):
        raise Unreadable("invalid URL escape")
    return text(unquote_to_bytes(value))


def path_unescape(path: str) -> str:
    """url.PathUnescape: `+` stays."""
    return _unescape(path)


def query(raw: str) -> dict[str, list[str]]:
    """url.ParseQuery: names in their order; `+` is a space; `;` separates nothing and is refused."""
    found: dict[str, list[str]] = {}
    if not raw:
        return found
    if raw.count("&") >= MAX_PARAMETERS:
        raise Unreadable("too many query parameters")
    for pair in raw.split("&"):
        if ";" in pair:
            raise Unreadable("invalid semicolon separator in query")
        if pair:
            name, _, value = pair.replace("+", " ").partition("=")
            found.setdefault(_unescape(name), []).append(_unescape(value))
    return found


def whole_number(value: str) -> int:
    """strconv.ParseInt, base 10, 64 bits."""
    if _NUMBER.fullmatch(value) and -_INT64 <= (number := int(value)) < _INT64:
        return number
    raise Unreadable("content-length is not a number")


def media_type(value: str) -> tuple[str, dict[str, str]]:
    """mime.ParseMediaType, without RFC 2231's encoded and continued parameters, which multipart forms do not use.

    The media type (or disposition) and its parameters, both names in lower case.
    """
    base = value.partition(";")[0]
    kind = base.strip().lower()
    if not _MEDIA_TYPE.fullmatch(kind):
        raise Unreadable("no media type")
    found: dict[str, str] = {}
    at = len(base)
    while match := _PARAMETER.match(value, at):
        name, quoted = match["name"].lower(), match["quoted"]
        one = match["plain"] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        if found.setdefault(name, one) != one:
            raise Unreadable("duplicate media type parameter")
        at = match.end()
    if value[at:].strip() not in {"", ";"}:
        raise Unreadable("invalid media type parameter")
    return kind, found
