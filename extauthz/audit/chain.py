"""The hash chain of one writer, without any input or output.

A record is one line: `{"schema":1,"writer":"<writer>","seq":<n>,"event":"<event>",…,"chain":"<hex>"}`. Its `chain` is
SHA-256 over the chain of the record before it (64 hex digits) and the line without its chain member, so

1. a record cannot be changed, removed, repeated or moved without every later `chain` being another one;
2. `seq` counts every record of a writer from 1 without a gap;
3. what is signed (`chain.checkpoint` records, and the head beside the files) covers every record before it.

The first record follows `GENESIS`, number 0. A line that was cut off by a crash stays where it is; the next record
names its length and digest (`torn`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.fault import AuditError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.audit.key import AuditKey, PublicKeys

SCHEMA: Final = 1
GENESIS: Final = b"0" * 64
HEAD_MAX: Final = 1024
_TEXT: Final = 128
_MEMBER: Final = b',"chain":"%b"}\n'
TAIL: Final = len(_MEMBER % GENESIS)
_START: Final = re.compile(
    rb'\{"schema":1,"writer":"(?P<writer>[a-z][a-z0-9-]{0,63})","seq":(?P<seq>[1-9][0-9]{0,17}),'
    rb'"event":"(?P<event>[a-z0-9_.]{1,64})"'
)
_END: Final = re.compile(rb',"chain":"(?P<chain>[0-9a-f]{64})"\}\n')


def digest(previous: bytes, unchained: bytes) -> bytes:
    """The chain of a record: `unchained` is its line up to its chain member. Hex digits."""
    return hashlib.sha256(previous + unchained + b"}").hexdigest().encode()


class Chain:
    """Where a chain is: `seq` and `tip` of its newest record."""

    __slots__ = ("_start", "seq", "tip", "writer")

    def __init__(self, writer: str, seq: int = 0, tip: bytes = GENESIS) -> None:
        self.writer = writer
        self.seq = seq
        self.tip = tip
        self._start = b'{"schema":1,"writer":"%b","seq":' % writer.encode()

    def sealed(self, body: bytes) -> bytes:
        """The next record's line. `body` begins with its event member and has no braces around it."""
        self.seq += 1
        unchained = b"%b%d,%b" % (self._start, self.seq, body)
        self.tip = digest(self.tip, unchained)
        return unchained + _MEMBER % self.tip

    def back_to(self, seq: int, tip: bytes) -> None:
        """Records after `seq` were sealed and could not be written."""
        self.seq = seq
        self.tip = tip


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a line says of its place in a chain, believed or not."""

    writer: str
    seq: int
    event: str
    chain: bytes

    @classmethod
    def of(cls, line: bytes) -> Sealed | None:
        """None for what is no record of a chain."""
        start = _START.match(line)
        end = _END.fullmatch(line[-TAIL:])
        if start is None or end is None:
            return None
        return cls(start["writer"].decode(), int(start["seq"]), start["event"].decode(), end["chain"])

    def follows(self, line: bytes, previous: bytes) -> bool:
        """Whether `line`, which this was read from, is what was chained to `previous`."""
        return digest(previous, line[:-TAIL]) == self.chain


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed place in a chain: the file beside a writer's records (its head), or what a checkpoint says."""

    writer: str
    seq: int
    chain: str
    kid: str
    signature: str

    @classmethod
    def by(cls, key: AuditKey, writer: str, seq: int, tip: bytes) -> Signed:
        chain = tip.decode()
        return cls(writer, seq, chain, key.kid, key.sign(writer, seq, chain))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Signed:
        """From a head or a whole `chain.checkpoint` record. Raises AuditError."""
        told = document.get("signed", document)
        try:
            writer, seq, *texts = document["writer"], told["seq"], told["chain"], told["kid"], told["signature"]
        except (KeyError, TypeError):
            raise AuditError("it says no signed place in a chain") from None
        good = all(isinstance(text, str) and text.isascii() and len(text) <= _TEXT for text in (writer, *texts))
        if not good or type(seq) is not int or seq not in range(10**18):
            raise AuditError("it says no signed place in a chain")
        return cls(writer, seq, *texts)

    @classmethod
    def read(cls, head: bytes) -> Signed:
        """From a head's bytes, which are accepted in one form only. Raises AuditError."""
        try:
            document = orjson.loads(head)
        except orjson.JSONDecodeError:
            raise AuditError("the head is not JSON") from None
        if not isinstance(document, dict):
            raise AuditError("the head is not a JSON object")
        found = cls.of(document)
        if found.head() != head:
            raise AuditError("the head was not written like this")
        return found

    def head(self) -> bytes:
        """The head file."""
        return orjson.dumps(
            {"schema": SCHEMA, "writer": self.writer, **self.members()}, option=orjson.OPT_APPEND_NEWLINE
        )

    def members(self) -> dict[str, Any]:
        """As a checkpoint says it."""
        return {"seq": self.seq, "chain": self.chain, "kid": self.kid, "signature": self.signature}

    def wrong(self, keys: PublicKeys) -> str:
        """What is wrong with it; empty: nothing."""
        return keys.wrong(self.kid, self.writer, self.seq, self.chain, self.signature)


def torn(fragment: bytes) -> dict[str, Any]:
    """How the next record names a line that was cut off (without a newline)."""
    return {"bytes": len(fragment), "sha256": hashlib.sha256(fragment).hexdigest()}
