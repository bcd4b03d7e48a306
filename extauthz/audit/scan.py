"""Reads one file of a chain and finds everything that is wrong with it. No input, no output: lines are handed in.

1. The first record says what it follows (`chain.opened`, `previous`); whoever joins files compares that.
2. Every line is the record after the one before it, unchanged; else it is named, and its own word is believed for what
   follows, so that one change is one finding.
3. A line that is no record is one that was cut off: the next record must say so (`torn`), with its length and digest.
4. A checkpoint signs the record before it, with a known key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.chain import GENESIS, TAIL, Sealed, Signed, digest, torn
from extauthz.audit.fault import AuditError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from extauthz.audit.key import PublicKeys

LINE_MAX: Final = 1024 * 1024
PROBLEMS: Final = 1000
"""Findings of a file that are named; more are counted."""
_FRAGMENTS: Final = 1000
_END: Final = TAIL - 1
"""Bytes of the chain member and what follows, in a line without its newline."""
Place = tuple[int, str]
"""`seq` and `chain` of a record."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; 0: the file as a whole. `seq` 0: no record in particular."""

    file: str
    line: int
    seq: int
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: " + (f"record {self.seq}: " if self.seq else "") + self.what


@dataclass(slots=True)
class Report:
    """What was found in a file."""

    file: str
    previous: Place = (0, GENESIS.decode())
    """What its first record says that it follows."""
    begun: bool = False
    """It has a first record."""
    seq: int = 0
    tip: str = GENESIS.decode()
    records: int = 0
    checkpoints: int = 0
    found: dict[int, str] = field(default_factory=dict)
    """Chains of the records that were asked for."""
    unsigned: int = 0
    """Records that nobody had signed when the next process took them over, by the chain's own word."""
    pruned: list[Place] = field(default_factory=list)
    """Where deletions of older files ended, by the chain's own word."""
    fragments: list[dict[str, Any]] = field(default_factory=list)
    """Lines at the end that were cut off, and that no record names yet."""
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    """Further problems."""


class Scanner:
    """Feed it a file's lines, in order. `keys` None: signatures are not looked at."""

    def __init__(self, file: str, writer: str, keys: PublicKeys | None, wanted: Collection[int] = ()) -> None:
        self.report = Report(file)
        self._writer = writer
        self._start = b'{"schema":1,"writer":"%b","seq":' % writer.encode()
        self._keys = keys
        self._wanted = frozenset(wanted)
        self._line = 0
        self._torn_at = 0
        self._tip = GENESIS

    def feed(self, lines: Iterable[bytes]) -> None:
        """Whole lines, without their newlines."""
        report, start, wanted = self.report, self._start, self._wanted
        seq, tip, number, count = report.seq, self._tip, self._line, 0
        ready = report.begun and not report.fragments
        for line in lines:
            number += 1
            head = b"%b%d," % (start, seq + 1)
            chained = digest(tip, line[:-_END])
            if ready and line.startswith(head) and line[-_END:] == b',"chain":"%b"}' % chained:
                if line.startswith(b'"event":"chain.', len(head)):
                    self._line = number
                    self._control(line, seq, tip)
                seq += 1
                tip = chained
                count += 1
                if seq in wanted:
                    report.found[seq] = tip.decode()
                continue
            report.seq, self._tip, self._line = seq, tip, number
            self._odd(line)
            seq, tip = report.seq, self._tip
            ready = report.begun and not report.fragments
        report.seq, self._tip, self._line = seq, tip, number
        report.tip = tip.decode()
        report.records += count

    def finish(self, rest: bytes) -> Report:
        """`rest`: bytes at the end without a newline."""
        if rest:
            self._fragment(rest)
        return self.report

    def want(self, seq: int) -> None:
        """The chain of this record is wanted, too, if it is still to come or the newest."""
        self._wanted |= {seq}
        if seq == self.report.seq:
            self.report.found[seq] = self.report.tip

    def end(self) -> int:
        """The line that was read last."""
        return self._line

    def _problem(self, seq: int, what: str, line: int = 0) -> None:
        report = self.report
        if len(report.problems) < PROBLEMS:
            report.problems.append(Problem(report.file, line or self._line, seq, what))
        else:
            report.more += 1

    def _fragment(self, line: bytes) -> None:
        if len(self.report.fragments) < _FRAGMENTS:
            self._torn_at = self._torn_at or self._line
            self.report.fragments.append(torn(line))
        else:
            self._problem(0, "is no record of the chain")

    def _odd(self, line: bytes) -> None:
        """A line that is not simply the next record."""
        report = self.report
        sealed = Sealed.of(line + b"\n")
        if sealed is None:
            self._fragment(line)  # 3
            return
        if sealed.writer != self._writer:
            self._problem(sealed.seq, f"is a record of another writer, {sealed.writer}")
            return
        document = _parsed(line)
        if not report.begun:
            self._begin(document, sealed)
        self._named(document, sealed.seq)
        expected = report.seq + 1
        if sealed.seq == expected:
            if not sealed.follows(line + b"\n", self._tip):
                self._problem(sealed.seq, "it was changed, or the record before it was")
            elif sealed.event.startswith("chain."):
                self._control(line, report.seq, self._tip)
        elif sealed.seq > expected:
            missing = (
                f"record {expected} is" if sealed.seq == expected + 1 else f"records {expected} to {sealed.seq - 1} are"
            )
            self._problem(sealed.seq, f"{missing} missing before it")
        else:
            self._problem(sealed.seq, "it stands here again, or out of its order")
            return
        report.seq, self._tip = sealed.seq, sealed.chain
        report.records += 1
        if sealed.seq in self._wanted:
            report.found[sealed.seq] = sealed.chain.decode()

    def _begin(self, document: dict[str, Any], sealed: Sealed) -> None:
        """1. Without a first record that says what it follows, the record is believed to follow what it must."""
        report = self.report
        report.begun = True
        place = _place(document.get("previous"))
        if sealed.event != "chain.opened" or place is None:
            self._problem(sealed.seq, "the file does not begin with a record that opens it")
            place = (sealed.seq - 1, "")
        report.previous = place
        report.seq, self._tip = place[0], place[1].encode()

    def _named(self, document: dict[str, Any], seq: int) -> None:
        """3."""
        report = self.report
        if not report.fragments:
            return
        if document.get("torn") != report.fragments:
            self._problem(seq, "what stands before it is no record of the chain, and was not named", self._torn_at)
        report.fragments = []
        self._torn_at = 0

    def _control(self, line: bytes, seq: int, tip: bytes) -> None:
        """A record of the chain about itself, which follows record `seq`."""
        document = _parsed(line)
        event = document.get("event")
        if event == "chain.opened":
            if _place(document.get("previous")) != (seq, tip.decode()):
                self._problem(seq + 1, "it opens the chain at another place")
            unsigned = document.get("unsigned", 0)
            self.report.unsigned += unsigned if type(unsigned) is int else 0
        elif event == "chain.pruned" and (place := _place(document.get("through"))) is not None:
            self.report.pruned.append(place)
        elif event == "chain.checkpoint":
            self._checkpoint(document, seq, tip)

    def _checkpoint(self, document: dict[str, Any], seq: int, tip: bytes) -> None:
        """4."""
        self.report.checkpoints += 1
        if self._keys is None:
            return
        try:
            signed = Signed.of(document)
        except AuditError as error:
            self._problem(seq + 1, str(error))
            return
        if (signed.writer, signed.seq, signed.chain) != (self._writer, seq, tip.decode()):
            self._problem(seq + 1, "it signs another place in the chain")
        elif wrong := signed.wrong(self._keys):
            self._problem(seq + 1, wrong)


def _parsed(line: bytes) -> dict[str, Any]:
    """Empty for what is no JSON object."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _place(value: Any) -> Place | None:
    if not isinstance(value, dict):
        return None
    seq, chain = value.get("seq"), value.get("chain")
    if type(seq) is not int or not isinstance(chain, str) or len(chain) != len(GENESIS) or not chain.isascii():
        return None
    return seq, chain
