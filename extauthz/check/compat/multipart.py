"""`multipart/form-data` as Go's `mime/multipart` reads it: the parts of a body that have a form name.

Laws:

1. A boundary is `--boundary` at the start of a line, blanks after it allowed; the last one ends in `--`.
2. Lines end in CRLF; a first boundary line that ends in a bare LF makes LF the line end of the whole body.
3. What stands before the first boundary is skipped, after the last one not read.
4. A body that ends inside a part, or has a line between two parts that is no boundary, is refused; one that ends right
   after a boundary line is whole.

Source: RFC 2046 section 5.1.1 and RFC 7578; the order of tests is Go's.
"""

from __future__ import annotations

import quopri
import re
from typing import TYPE_CHECKING, Final

from extauthz.check.compat.go_text import Unreadable, media_type, text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parts"]

MAX_HEADERS: Final = 10_000
"""Header lines of one part; Go's own bound."""
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BLANK: Final = b" \t"
_AFTER: Final = frozenset(b" \t\r\n")


def parts(payload: bytes, boundary: str) -> Iterator[tuple[str, str, bytes]]:
    """(form name, content type, content) of each part that has a name. Raises Unreadable."""
    dash = b"--" + boundary.encode()
    nl = b"\r\n"
    at, first, fresh = 0, True, False
    while True:
        line, at = _line(payload, at)
        rest = line[len(dash) :].lstrip(_BLANK) if line.startswith(dash) else None
        if rest is not None:
            if first and rest == b"\n":
                nl = rest  # 2
            if rest == nl and at == len(payload):
                return  # 4
            if rest == nl:
                head, at = _head(payload, at)
                content, at = _content(payload, at, dash, nl)
                first = fresh = False
                if name := _form_name(head):
                    yield name, text(head.get(b"content-type", b"")), _decoded(head, content)
                continue
        if _is_last(line, dash, nl):
            return
        if not line.endswith(b"\n"):
            raise Unreadable("the multipart body ends before its last boundary")  # 4
        if fresh or not (first or line == nl):
            raise Unreadable("the multipart body has a line that is no boundary")  # 4
        fresh = not first  # 3: before the first part every line is skipped


def _line(payload: bytes, at: int) -> tuple[bytes, int]:
    """The line at `at` with its end; what is left when there is no further end."""
    end = payload.find(b"\n", at) + 1
    return (payload[at:end], end) if end else (payload[at:], len(payload))


def _is_last(line: bytes, dash: bytes, nl: bytes) -> bool:
    if not line.startswith(dash + b"--"):
        return False
    rest = line[len(dash) + 2 :].lstrip(_BLANK)
    return not rest or rest == nl


def _head(payload: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """A part's headers, names in lower case, the first of each; and where its content starts."""
    found: dict[bytes, bytes] = {}
    last = b""
    for _ in range(MAX_HEADERS):
        line, at = _line(payload, at)
        if not line.endswith(b"\n"):
            raise Unreadable("the multipart body ends inside a part's header")  # 4
        line = line.rstrip(b"\r\n")
        if not line:
            break
        if line[:1] in (b" ", b"\t"):
            if not last:
                raise Unreadable("a part's header is malformed")
            found[last] += b" " + line.strip(_BLANK)
            continue
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise Unreadable("a part's header is malformed")
        last = name.lower()
        if last in found:
            last += b"\x00"  # a further one is not looked at, only its continuation lines are taken
        found[last] = value.strip(_BLANK)
    else:
        raise Unreadable("a part has too many headers")
    return found, at


def _form_name(head: dict[bytes, bytes]) -> str:
    try:
        disposition, parameters = media_type(text(head.get(b"content-disposition", b"")))
    except Unreadable:
        return ""
    return parameters.get("name", "") if disposition == "form-data" else ""


def _decoded(head: dict[bytes, bytes], content: bytes) -> bytes:
    """Go decodes quoted-printable by itself, and nothing else."""
    quoted = head.get(b"content-transfer-encoding", b"").lower() == b"quoted-printable"
    return quopri.decodestring(b"\n".join(map(_unpadded, content.split(b"\n")))) if quoted else content


def _unpadded(line: bytes) -> bytes:
    """Blanks at the end of a quoted-printable line are of the transport (RFC 2045 section 6.7, rule 3)."""
    return line[:-1].rstrip(_BLANK) + b"\r" if line.endswith(b"\r") else line.rstrip(_BLANK)


def _content(payload: bytes, at: int, dash: bytes, nl: bytes) -> tuple[bytes, int]:
    """The content up to the line end before the next boundary, and the place of that line end or boundary."""
    if payload.startswith(dash, at) and _ends(payload, at + len(dash)):
        return b"", at
    separator = nl + dash
    search = at
    while (found := payload.find(separator, search)) >= 0:
        if _ends(payload, found + len(separator)):
            return payload[at:found], found
        search = found + len(separator)
    raise Unreadable("the multipart body ends inside a part")  # 4


def _ends(payload: bytes, after: int) -> bool:
    """Whether what follows makes a boundary of what was found: a blank, a line end, `--`, or the end of the body."""
    following = payload[after : after + 2]
    return not following or following[0] in _AFTER or following == b"--"
