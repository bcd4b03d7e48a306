"""A form (RFC 6749 appendix B), read strictly: each parameter once, bounded, no second spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from extauthz.sts.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY: Final = 32 * 1024
"""Two tokens of 8 KiB, percent-encoded, and the rest."""
MAX_FIELDS: Final = 32
REPEATABLE: Final = frozenset({"audience", "resource"})
"""RFC 8693 section 2.1."""
_SECRETS: Final = frozenset({"client_secret", "client_assertion", "password"})
CONTENT_TYPE: Final = "application/x-www-form-urlencoded"

Form = dict[str, tuple[str, ...]]
"""Name → values; a parameter without a value counts as absent (RFC 6749 section 3.2)."""


def parse(body: bytes, content_type: str) -> Form | Refused:
    """The form, or why it is refused.

    1. the content type says so
    2. bounded in bytes and in parameters; well-formed UTF-8
    3. each parameter once, except those that may repeat
    4. no static secret: a client proves itself by its certificate
    """
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:  # 1
        return Refused("invalid_request", f"the body must be {CONTENT_TYPE}")
    if len(body) > MAX_BODY:  # 2
        return Refused("invalid_request", "the body is too large")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:  # 2: UnicodeDecodeError is one
        return Refused("invalid_request", "the body is not a well-formed form")
    form: Form = {}
    seen = set()
    for name, value in pairs:
        if name in seen and name not in REPEATABLE:  # 3
            return Refused("invalid_request", "a parameter was sent twice")
        seen.add(name)
        if value:
            form[name] = (*form.get(name, ()), value)
    if _SECRETS & seen:  # 4
        return Refused("invalid_request", "clients prove themselves by their certificate, never by a secret")
    return form


def one(form: Mapping[str, tuple[str, ...]], name: str) -> str:
    """The value of a parameter that may not repeat; empty when it is absent."""
    return form.get(name, ("",))[0]
