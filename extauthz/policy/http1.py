"""One HTTP/1.1 response, read from bytes; no I/O.

Laws: what is not plainly right is `Malformed`, and the connection it came on is never used again. A response has
exactly one framing, `content-length` or `chunked`; both, neither, or a second response after it are refused, so that
the answer to one question can never be taken for the answer to another.
"""

from __future__ import annotations

import re
from typing import Final

MAX_HEAD: Final = 16 * 1024
MAX_CHUNK_LINE: Final = 256
NO_BODY: Final = frozenset({204, 304})
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})

_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[\t\x20-\x7e]*)?")


class Malformed(Exception):
    """The peer does not speak HTTP/1.1 as we require it."""


class TooLarge(Exception):
    """The body is larger than the caller reads."""


class Response:
    """`feed` returns True when the response is whole; then `status`, `body` and `keep_alive` are its own."""

    __slots__ = ("_body", "_buffer", "_chunked", "_in_trailer", "_limit", "_wanted", "keep_alive", "status")

    def __init__(self, limit: int) -> None:
        self.status = 0
        self.keep_alive = True
        self._limit = limit
        self._buffer = bytearray()
        self._body = bytearray()
        self._chunked = False
        self._in_trailer = False
        self._wanted = -1
        """Bytes of the body, or of the present chunk with its line end, still to come; -1 while that is unknown."""

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    def feed(self, data: bytes) -> bool:
        """Raises Malformed or TooLarge; the parser is of no use afterwards."""
        self._buffer += data
        if not self.status and not self._head():
            return False
        done = self._chunks() if self._chunked else self._plain()
        if done and self._buffer:
            raise Malformed("bytes after the response")
        return done

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(self._buffer) > MAX_HEAD):
            raise Malformed("the header is too large")
        if end < 0:
            if len(self._buffer) >= len(b"HTTP/1.1 ") and not self._buffer.startswith(b"HTTP/1.1 "):
                raise Malformed("not HTTP/1.1")
            return False
        status, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        match = _STATUS.fullmatch(status)
        if match is None:
            raise Malformed("the status line")
        self._framing(_fields(lines))
        self.status = int(match[1])
        if self.status in NO_BODY:
            raise Malformed("a response without a body")
        return True

    def _framing(self, fields: dict[bytes, bytes]) -> None:
        length, encoding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if (length is None) == (encoding is None) or b"content-encoding" in fields:
            raise Malformed("the framing of the body")
        self.keep_alive = fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        if length is None:
            if encoding is None or encoding.lower() != b"chunked":
                raise Malformed("transfer-encoding")
            self._chunked = True
            return
        if not _DIGITS.fullmatch(length):
            raise Malformed("content-length")
        self._wanted = int(length)
        if self._wanted > self._limit:
            raise TooLarge

    def _plain(self) -> bool:
        if len(self._buffer) < self._wanted:
            return False
        self._body += self._buffer[: self._wanted]
        del self._buffer[: self._wanted]
        return True

    def _chunks(self) -> bool:
        while True:
            if self._wanted < 0:
                line = self._line()
                if line is None:
                    return False
                if self._in_trailer:
                    if line:
                        raise Malformed("a trailer")
                    return True
                self._chunk_begins(line)
            elif not self._chunk_ends():
                return False

    def _chunk_begins(self, line: bytes) -> None:
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise Malformed("a chunk's size")
        count = int(size[1], 16)
        if count + len(self._body) > self._limit:
            raise TooLarge
        if count:
            self._wanted = count + 2
        else:
            self._in_trailer = True

    def _chunk_ends(self) -> bool:
        if len(self._buffer) < self._wanted:
            return False
        if self._buffer[self._wanted - 2 : self._wanted] != b"\r\n":
            raise Malformed("a chunk's end")
        self._body += self._buffer[: self._wanted - 2]
        del self._buffer[: self._wanted]
        self._wanted = -1
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end > MAX_CHUNK_LINE or (end < 0 and len(self._buffer) > MAX_CHUNK_LINE):
            raise Malformed("a chunk's size line")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Lower-case names. A field that decides the framing must not come twice; of others the last one counts."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Malformed("a header field")
        name = field[1].lower()
        if name in fields and name in FRAMING:
            raise Malformed("a framing field that comes twice")
        fields[name] = field[2]
    return fields
