"""gRPC over HTTP/2 without the I/O: length-prefixed messages, timeouts, status codes.

Laws: a frame is one byte of flags, four bytes of length (big endian), and the message. We speak identity encoding only,
so a compressed frame is UNIMPLEMENTED; a message over the limit is RESOURCE_EXHAUSTED before it is read; anything else
that does not fit is INTERNAL. Source: grpc/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import math
import re
from enum import IntEnum
from typing import Final
from urllib.parse import quote

from extauthz.errors import ExtauthzError

PREFIX: Final = 5
_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MESSAGE: Final = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"


class Status(IntEnum):
    """The gRPC status codes that a call of ours can end with (google.rpc.Code)."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Refused(ExtauthzError):
    """A call that never reaches the service, and the status that it is answered with."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def unary(body: bytes, limit: int) -> bytes:
    """The one message of a complete unary request body. Raises Refused."""
    if len(body) < PREFIX:
        raise Refused(Status.INTERNAL, "the request ends inside a frame header")
    size = _size(body, limit)
    if len(body) != PREFIX + size:
        raise Refused(Status.INTERNAL, "the request is not exactly one frame")
    return body[PREFIX:]


def take(buffer: bytearray, limit: int) -> bytes | None:
    """Cuts the first message off a stream's buffer; None when it is not complete yet. Raises Refused."""
    if len(buffer) < PREFIX:
        return None
    end = PREFIX + _size(buffer, limit)
    if len(buffer) < end:
        return None
    message = bytes(buffer[PREFIX:end])
    del buffer[:end]
    return message


def _size(body: bytes | bytearray, limit: int) -> int:
    flags = body[0]
    if flags == 1:
        raise Refused(Status.UNIMPLEMENTED, "compressed messages are not accepted: use identity")
    if flags:
        raise Refused(Status.INTERNAL, "unknown frame flags")
    size = int.from_bytes(body[1:PREFIX], "big")
    if size > limit:
        raise Refused(Status.RESOURCE_EXHAUSTED, f"the message is larger than {limit} bytes")
    return size


def frame(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def budget(timeout: bytes) -> float:
    """Seconds that the caller waits, from the value of `grpc-timeout`; inf when it cannot be read."""
    match = _TIMEOUT.fullmatch(timeout)
    return int(match[1]) * _SECONDS[match[2]] if match else math.inf


def trailers(status: Status, message: str = "") -> list[tuple[bytes, bytes]]:
    found = [(b"grpc-status", str(int(status)).encode())]
    if message:
        found.append((b"grpc-message", quote(message, safe=_MESSAGE).encode()))
    return found
