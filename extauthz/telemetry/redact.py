"""The last line of defence: takes what looks like a secret out of a text.

Secrets must not come this far; where one does, it stops here. Every pattern reads a text once (no nested repetition),
and callers cut texts before they come here.
"""

from __future__ import annotations

import re
from typing import Final

_JWT: Final = re.compile(r"\bey[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")
"""base64url of '{"' or '{ ', then dots: JWS, JWE, an unsecured JWT."""
_PATTERNS: Final = (
    # A PEM block, also URL-encoded (Envoy's source.certificate), also cut off in the middle.
    (re.compile(r"-----BEGIN[ +%][\s\S]*?(?:-----END[^-]{0,64}-----|\Z)"), "[redacted pem]"),
    (_JWT, "[redacted jwt]"),
    (re.compile(r"(?i)\b(bearer|basic|dpop|negotiate)[ \t]+[A-Za-z0-9._~+/=-]{4,}"), r"\1 [redacted]"),
    (
        re.compile(
            r"(?i)\b([a-z_-]{0,32}(?:authorization|password|passwd|secret|api[_-]?key|token|cookie))"
            r"([\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?)(?!\[redacted)(?!bearer \[redacted)[^\s\"',;&]{1,4096}"
        ),
        r"\1\2[redacted]",
    ),
)
_CUT: Final = "…"


def redact(text: str) -> str:
    """The text without bearer and basic credentials, JWTs, PEM blocks, and values named like secrets."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_tokens(text: str) -> str:
    """The text without JWTs; JSON stays JSON."""
    return _JWT.sub("[redacted jwt]", text)


def plain(text: str, most: int = 256) -> str:
    """At most `most` characters, and none that a terminal or a line reader acts on (controls, bidi, separators)."""
    if len(text) > most:
        text = text[: most - 1] + _CUT
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)
