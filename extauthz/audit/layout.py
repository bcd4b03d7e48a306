"""Names of the files of an audit directory: `<writer>-<number>.jsonl[.gz]`, `<writer>.head`, `<writer>.lock`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HEAD: Final = ".head"
PACKED: Final = ".gz"
_NAME: Final = re.compile(r"(?P<writer>[a-z][a-z0-9-]{0,63})-(?P<number>[0-9]{6,12})\.jsonl(?P<packed>\.gz)?")


@dataclass(frozen=True, slots=True, order=True)
class ChainFile:
    """One file of a writer's records."""

    writer: str
    number: int
    path: Path

    @property
    def packed(self) -> bool:
        return self.path.name.endswith(PACKED)


def path_of(directory: Path, writer: str, number: int) -> Path:
    return directory / f"{writer}-{number:06d}.jsonl"


def head_of(directory: Path, writer: str) -> Path:
    return directory / f"{writer}{HEAD}"


def chain_files(paths: Iterable[Path]) -> list[ChainFile]:
    """By writer and number. Of a file that is there packed and not packed (a crash in between), the latter counts."""
    found: dict[tuple[str, int], ChainFile] = {}
    for path in sorted(paths):  # `x.jsonl` comes before `x.jsonl.gz`
        if match := _NAME.fullmatch(path.name):
            file = ChainFile(match["writer"], int(match["number"]), path)
            found.setdefault((file.writer, file.number), file)
    return sorted(found.values())
