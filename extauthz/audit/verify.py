"""Verifies audit files: finds every edit, deletion, reordering, gap, repetition, insertion and truncation.

1. Every file by itself, in parallel: `scan`.
2. The files of a writer are joined: each follows the one before it; what is missing at the beginning was deleted by the
   chain's own word (`chain.pruned`).
3. The head is signed with a known key; the last record is the one that it names. Records after it are not vouched for;
   a writer that still runs signs them in a moment, which is waited for.
4. Every witnessed place (copies of heads or checkpoints that were kept elsewhere) is still in the chain, so a whole
   directory that was put back to an older state, or a writer that is gone, is found.

What nobody can find without a witness: that all files of a writer, its head included, are gone or of an earlier time.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.chain import GENESIS, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.follow import followed, read_head
from extauthz.audit.key import PublicKeys
from extauthz.audit.layout import HEAD, ChainFile, chain_files, head_of
from extauthz.audit.reading import LineReader
from extauthz.audit.scan import Place, Problem, Report, Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from extauthz.audit.follow import Followed

_MUCH: Final = 32 * 1024 * 1024
"""Bytes above which other processes help."""
_WITNESS_MAX: Final = 256 * 1024 * 1024


@dataclass(slots=True)
class WriterResult:
    """What was found of one writer. `first` and `last`: `seq` of the records that are there."""

    writer: str
    files: int = 0
    records: int = 0
    checkpoints: int = 0
    first: int = 0
    last: int = 0
    signed: int = 0
    """The last record that a signature covers."""
    running: bool = False
    adopted: int = 0
    """Records that nobody had signed when the next process took them over, after a crash: nobody vouches for them."""
    witnessed: int = 0
    """Places that a witness knows and that were compared."""
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    """Further problems."""


@dataclass(slots=True)
class Result:
    writers: list[WriterResult]
    seconds: float

    @property
    def records(self) -> int:
        return sum(writer.records for writer in self.writers)

    @property
    def problems(self) -> list[Problem]:
        return [problem for writer in self.writers for problem in writer.problems]

    @property
    def sound(self) -> bool:
        """Something was there, and nothing is wrong with it."""
        return bool(self.records) and not self.problems


@dataclass(slots=True)
class _Writer:
    """What is known of a writer before its files are read."""

    name: str
    head: Path
    files: list[ChainFile] = field(default_factory=list)
    witness: list[Signed] = field(default_factory=list)


def verify(paths: Sequence[Path], keys: PublicKeys, witness: Iterable[Signed] = (), *, processes: int = 0) -> Result:
    """`paths`: directories, or files of one. `processes` 0: as many as there are CPUs, where it is worth it.

    Blocks. Raises AuditError for a path that cannot be listed.
    """
    started = time.perf_counter()
    writers = _writers(paths, witness)
    older = [
        (file, keys.jwks, frozenset(place.seq for place in writer.witness))
        for writer in writers
        for file in writer.files[:-1]
    ]
    reports: dict[str, list[Report]] = {writer.name: [] for writer in writers}
    results = []
    with _helpers(older, processes) as helpers:
        scans = helpers.map(_scan, older) if isinstance(helpers, ProcessPoolExecutor) else map(_scan, older)
        newest = {
            writer.name: followed(writer.files[-1], writer.head, keys, [p.seq for p in writer.witness])
            for writer in writers
            if writer.files
        }
        for (file, _, _), report in zip(older, scans, strict=True):
            reports[file.writer].append(report)
    for writer in writers:
        result = WriterResult(writer.name)
        last = newest.get(writer.name)
        if last is None:
            signed, problem = read_head(writer.head, writer.name, keys)
            _problem(result, writer.head.name, problem or "its files are missing")
            result.signed = 0 if signed is None else signed.seq
        else:
            result.running = last.running
            _join(result, [*reports[writer.name], *last.reports])
            _head(result, writer.head.name, last)
        _witnessed(result, writer.witness, [*reports[writer.name], *(last.reports if last else [])], keys)
        results.append(result)
    return Result(results, time.perf_counter() - started)


def read_witness(path: Path) -> list[Signed]:
    """Heads and checkpoint records, one JSON object a line; other records are skipped. Blocks. Raises AuditError."""
    found = []
    try:
        with path.open("rb") as file:
            content = file.read(_WITNESS_MAX)
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from None
    for line in content.splitlines():
        if b'"signature"' not in line:
            continue
        try:
            document = orjson.loads(line)
            found.append(Signed.of(document))
        except (orjson.JSONDecodeError, AttributeError):
            raise AuditError(f"{path} is no copy of heads or checkpoints") from None
    if not found:
        raise AuditError(f"{path} holds no head and no checkpoint")
    return found


def _writers(paths: Sequence[Path], witness: Iterable[Signed]) -> list[_Writer]:
    """Raises AuditError."""
    for path in paths:
        if not path.exists():
            raise AuditError(f"there is no {path}")
    try:
        found = [each for path in paths for each in (path.iterdir() if path.is_dir() else [path])]
    except OSError as error:
        raise AuditError(f"{error.filename} cannot be read: {error.strerror}") from None
    writers: dict[str, _Writer] = {}
    for file in chain_files(found):
        head = head_of(file.path.parent, file.writer)
        writers.setdefault(file.writer, _Writer(file.writer, head)).files.append(file)
    for path in found:
        if path.name.endswith(HEAD) and not path.name.startswith("."):
            name = path.name.removesuffix(HEAD)
            writers.setdefault(name, _Writer(name, path))
    directory = paths[0] if paths[0].is_dir() else paths[0].parent
    for place in witness:
        writers.setdefault(place.writer, _Writer(place.writer, head_of(directory, place.writer))).witness.append(place)
    return [writers[name] for name in sorted(writers)]


class _Alone:
    """No other process helps."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _helpers(older: Sequence[tuple[ChainFile, Any, Any]], processes: int) -> ProcessPoolExecutor | _Alone:
    wanted = min(processes or os.cpu_count() or 1, len(older))
    size = sum(file.path.stat().st_size * (10 if file.packed else 1) for file, _, _ in older if file.path.exists())
    if wanted < 1 or (not processes and (wanted < 2 or size < _MUCH)):  # noqa: PLR2004 - one alone helps nobody
        return _Alone()
    return ProcessPoolExecutor(wanted, mp_context=get_context("spawn"))


def _scan(job: tuple[ChainFile, list[dict[str, Any]], frozenset[int]]) -> Report:
    """1. In another process, perhaps."""
    file, jwks, wanted = job
    scanner = Scanner(file.path.name, file.writer, PublicKeys(jwks), wanted)
    try:
        reader = LineReader(file.path)
        try:
            for lines in reader:
                scanner.feed(lines)
        finally:
            reader.close()
    except AuditError as error:
        scanner.report.problems.append(Problem(file.path.name, scanner.end(), scanner.report.seq + 1, str(error)))
        return scanner.report
    return scanner.finish(reader.rest)


def _problem(result: WriterResult, file: str, what: str, seq: int = 0) -> None:
    result.problems.append(Problem(file, 0, seq, what))


def _join(result: WriterResult, reports: Sequence[Report]) -> None:
    """2."""
    result.files = len(reports)
    end: Place = (0, GENESIS.decode())
    pruned = {place for report in reports for place in report.pruned}
    for number, report in enumerate(reports):
        result.records += report.records
        result.checkpoints += report.checkpoints
        result.adopted += report.unsigned
        result.problems += report.problems
        result.more += report.more
        if not report.begun:
            if report.fragments or number < len(reports) - 1:
                _problem(result, report.file, "it holds no record")
            continue
        if report.previous != end and not (number == 0 and report.previous in pruned):
            _problem(result, report.file, _break(report, end, first=number == 0), report.previous[0] + 1)
        result.first = result.first or report.previous[0] + 1
        if report.fragments:
            _problem(result, report.file, "a line at its end was cut off, and no record says so", report.seq + 1)
        end = (report.seq, report.tip)
    result.last = end[0]


def _break(report: Report, end: Place, *, first: bool) -> str:
    start, known = report.previous[0], end[0]
    if start > known:
        where = "before it, and no record says that they were deleted" if first else "before it"
        return f"records {known + 1} to {start} are missing {where}"
    if start < known:
        return f"it begins again at record {start + 1}, after record {known}"
    return "it does not follow the file before it"


def _head(result: WriterResult, name: str, last: Followed) -> None:
    """3."""
    head = last.head
    if head is None:
        _problem(result, name, last.problem)
        return
    result.signed = head.seq
    if head.seq > result.last:
        _problem(result, name, f"records {result.last + 1} to {head.seq} are missing at the end", head.seq)
        return
    known = {place: chain for report in last.reports for place, chain in (report.previous, *report.found.items())}
    if known.get(head.seq) != head.chain:
        _problem(result, name, "the head signs another record than the one that is there", head.seq)
    elif head.seq < result.last and (last.overdue or not last.running):
        what = f"records {head.seq + 1} to {result.last} are not signed: added, or written when the process was killed"
        _problem(result, name, what, head.seq + 1)


def _witnessed(result: WriterResult, places: Sequence[Signed], reports: Sequence[Report], keys: PublicKeys) -> None:
    """4. What was deleted by the chain's own word cannot be compared any more."""
    known: Mapping[int, str] = {
        seq: chain for report in reports for seq, chain in (report.previous, *report.found.items())
    }
    for place in places:
        if wrong := place.wrong(keys):
            _problem(result, "witness", wrong, place.seq)
        elif place.seq > result.last:
            _problem(result, "witness", "it was there once, and is missing now", place.seq)
        elif (
            place.seq >= result.first - 1 and known.get(place.seq, place.chain if not place.seq else "") != place.chain
        ):
            _problem(result, "witness", "it was another record once", place.seq)
        else:
            result.witnessed += 1
