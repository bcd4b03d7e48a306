"""One or several audit directories as one: a server's beside the others' and the authority's."""

from __future__ import annotations

import heapq
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Self

from extauthz.audit.fault import AuditError
from extauthz.audit.index import AuditIndex, Hit
from extauthz.audit.index_files import audit_files
from extauthz.audit.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from extauthz.audit.index_read import Found
    from extauthz.audit.index_refresh import Progress, Refreshed


@dataclass(frozen=True, slots=True)
class Match:
    """A hit, and the index that found it."""

    index: AuditIndex
    hit: Hit

    @property
    def directory(self) -> Path:
        return self.index.directory

    def read(self) -> Found:
        """The record from its file. Raises AuditError."""
        return self.index.read(self.hit)


class Archive:
    """Not thread-safe."""

    def __init__(self, directories: Sequence[Path], index: Path | None = None) -> None:
        """Raises AuditError. `index`: the index's file where there is one directory."""
        if not directories:
            raise AuditError("no audit directory is named")
        if index is not None and len(directories) > 1:
            raise AuditError("each directory has an index of its own: --index goes with one directory")
        self._open = ExitStack()
        try:
            self.indexes = [
                self._open.enter_context(AuditIndex(one, index)) for one in dict.fromkeys(map(_resolved, directories))
            ]
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def refresh(self, progress: Progress = lambda _file, _records: None) -> list[Refreshed]:
        """Reads what is new, of each directory. Raises AuditError."""
        return [index.refresh(progress) for index in self.indexes]

    def find(self, query: Query) -> Iterator[Match]:
        """In the query's order over all directories, `limit` at most. Raises AuditError."""
        return islice(self._merged([(index, query) for index in self.indexes]), query.limit)

    def new(self, query: Query, told: Callable[[Sequence[Refreshed]], None] = lambda _: None) -> Iterator[Match]:
        """Refreshes, and tells of it; what that has brought, the oldest first. Raises AuditError."""
        done = self.refresh()
        told(done)
        asked = [
            (index, replace(query, within=tuple(one.added), order="oldest"))
            for index, one in zip(self.indexes, done, strict=True)
            if one.added
        ]
        return self._merged(asked)

    def named(self, name: str) -> list[Match]:
        """What `name` stands for: every record of a decision id, or the record `<writer>:<seq>`."""
        writer, _, seq = name.rpartition(":")
        if writer and seq.isascii() and seq.isdigit() and len(seq) < 19:  # noqa: PLR2004 - fits 64 bits
            query = Query(writer=writer, seq=int(seq), order="oldest")
        else:
            query = Query(decision_id=(name,), order="oldest")
        return list(self.find(query))

    def files(self) -> list[Path]:
        """Of all directories. Raises AuditError."""
        return [file.path for index in self.indexes for file in audit_files(index.directory)]

    def _merged(self, asked: Sequence[tuple[AuditIndex, Query]]) -> Iterator[Match]:
        def of(index: AuditIndex, query: Query) -> Iterator[Match]:
            return (Match(index, hit) for hit in index.find(query))

        newest = bool(asked) and asked[0][1].order == "newest"
        found = [of(index, query) for index, query in asked]
        return heapq.merge(*found, key=lambda match: match.hit.time, reverse=newest)


def _resolved(directory: Path) -> Path:
    try:
        return directory.resolve()
    except (OSError, RuntimeError) as error:
        raise AuditError(f"{directory} cannot be read: {error}") from None
