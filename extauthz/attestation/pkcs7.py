"""The little of PKCS #7 SignedData (RFC 5652) that a signed instance identity document needs.

`cryptography` makes such messages and does not verify them, and clouds write them in BER with indefinite lengths, which
its parser does not read. Nothing is trusted here: the result says which bytes a signature must cover, and the caller
verifies it with a certificate of its own; certificates in the message are skipped.

1. BER (X.690 section 8.1): bounded in depth and count, every length inside its parent, nothing after the message
2. SignedData with its content inside, one signer, SHA-256, RSA
3. without signed attributes the signature covers the content
4. with them it covers their DER (section 5.4), in which content type and message digest stand once each, and the digest
   is the content's
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 16
MAX_NODES: Final = 512

_SEQUENCE, _SET, _OCTETS, _OCTETS_IN_PARTS, _OID, _INTEGER = 0x30, 0x31, 0x04, 0x24, 0x06, 0x02
_EXPLICIT_0: Final = 0xA0
_UNSIGNED: Final = 0xA1
_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
_DATA: Final = bytes.fromhex("2a864886f70d010701")
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")
_SHA256: Final = bytes.fromhex("608648016503040201")
_RSA: Final = frozenset({bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010b")})
"""rsaEncryption and sha256WithRSAEncryption: both mean PKCS #1 v1.5 here (RFC 3370 section 3.2)."""


@dataclass(frozen=True, slots=True)
class Message:
    content: bytes
    signed: bytes
    """What the signature covers."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class _Node:
    """`body`: of a primitive value. `whole`: with tag and length; empty where the length is indefinite."""

    tag: int
    body: bytes
    parts: tuple[_Node, ...]
    whole: bytes


class _Refused(Exception):
    """Never leaves this module."""


def parse(raw: bytes) -> Message | None:
    """None for everything that is not exactly what the steps above say. The caller has bounded the size."""
    try:
        reader = _Reader(raw)
        top = reader.node(len(raw), 0)
        if reader.at != len(raw):  # 1
            return None
        return _message(top)
    except _Refused:
        return None


class _Reader:
    """Step 1. `at` is the place of the next byte."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._nodes = 0
        self.at = 0

    def node(self, end: int, depth: int) -> _Node:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _Refused
        start = self.at
        tag = self._byte(end)
        if tag & 0x1F == 0x1F:  # noqa: PLR2004 - a tag of several bytes
            raise _Refused
        constructed = bool(tag & 0x20)
        length = self._length(end)
        if length is None:
            if not constructed:
                raise _Refused
            return _Node(tag, b"", self._until_mark(end, depth), b"")
        stop = self.at + length
        if stop > end:
            raise _Refused
        if not constructed:
            body = self._raw[self.at : stop]
            self.at = stop
            return _Node(tag, body, (), self._raw[start:stop])
        parts = []
        while self.at < stop:
            parts.append(self.node(stop, depth + 1))
        return _Node(tag, b"", tuple(parts), self._raw[start:stop])

    def _until_mark(self, end: int, depth: int) -> tuple[_Node, ...]:
        parts = []
        while self._raw[self.at : min(self.at + 2, end)] != b"\0\0":
            parts.append(self.node(end, depth + 1))
        self.at += 2
        return tuple(parts)

    def _byte(self, end: int) -> int:
        if self.at >= end:
            raise _Refused
        self.at += 1
        return self._raw[self.at - 1]

    def _length(self, end: int) -> int | None:
        first = self._byte(end)
        if first < 0x80:  # noqa: PLR2004 - the short form
            return first
        if first == 0x80:  # noqa: PLR2004 - the indefinite form
            return None
        if first > 0x84:  # noqa: PLR2004 - four bytes of length are more than is ever read
            raise _Refused
        length = 0
        for _ in range(first & 0x7F):
            length = length << 8 | self._byte(end)
        return length


def _message(top: _Node) -> Message:
    """Step 2."""
    kind, holder = _parts(top, _SEQUENCE, 2, 2)
    if kind.tag != _OID or kind.body != _SIGNED_DATA:
        raise _Refused
    (data,) = _parts(holder, _EXPLICIT_0, 1, 1)
    version, _, inside, *_, signers = _parts(data, _SEQUENCE, 4, 6)
    content_type, content_holder = _parts(inside, _SEQUENCE, 2, 2)
    if version.tag != _INTEGER or content_type.tag != _OID or content_type.body != _DATA:
        raise _Refused
    (octets,) = _parts(content_holder, _EXPLICIT_0, 1, 1)
    content = _octets(octets)
    (signer,) = _parts(signers, _SET, 1, 1)
    _, _, digest_algorithm, *rest = _parts(signer, _SEQUENCE, 5, 7)
    if rest[-1].tag == _UNSIGNED:
        rest.pop()
    attributes = rest.pop(0) if rest[0].tag == _EXPLICIT_0 else None
    if len(rest) != 2 or _algorithm(digest_algorithm) != _SHA256 or _algorithm(rest[0]) not in _RSA:  # noqa: PLR2004
        raise _Refused
    signed = content if attributes is None else _attributes(attributes, content)  # 3
    return Message(content, signed, _octets(rest[1]))


def _attributes(node: _Node, content: bytes) -> bytes:
    """Step 4."""
    if not node.whole:
        raise _Refused
    found: dict[bytes, bytes] = {}
    for attribute in _parts(node, _EXPLICIT_0, 2, 16):
        name, values = _parts(attribute, _SEQUENCE, 2, 2)
        (value,) = _parts(values, _SET, 1, 1)
        if name.tag != _OID or name.body in found:
            raise _Refused
        found[name.body] = value.body
    digest = hashlib.sha256(content).digest()
    if found.get(_CONTENT_TYPE) != _DATA or not hmac.compare_digest(found.get(_MESSAGE_DIGEST, b""), digest):
        raise _Refused
    return bytes((_SET,)) + node.whole[1:]


def _parts(node: _Node, tag: int, least: int, most: int) -> tuple[_Node, ...]:
    if node.tag != tag or not least <= len(node.parts) <= most:
        raise _Refused
    return node.parts


def _octets(node: _Node) -> bytes:
    if node.tag == _OCTETS:
        return node.body
    if node.tag != _OCTETS_IN_PARTS or any(part.tag != _OCTETS for part in node.parts):
        raise _Refused
    return b"".join(part.body for part in node.parts)


def _algorithm(node: _Node) -> bytes:
    name, *_ = _parts(node, _SEQUENCE, 1, 2)
    return name.body if name.tag == _OID else b""
