"""Whatever is done to the files of a chain is found, and named."""

from __future__ import annotations

import asyncio
import gzip
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.audit.chain import Chain, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.key import PublicKeys, opened
from extauthz.audit.verify import read_witness, verify
from tests.support.audit import check, public, trail_in, verified

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = 60


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of one writer, the first two packed; checkpoints in between."""
    directory = tmp_path_factory.mktemp("written")

    async def write() -> None:
        settings: dict[str, Any] = {"rotate": {"size": "24KiB"}, "checkpoint": {"records": 10}}
        async with trail_in(directory, **settings) as trail:
            for number in range(RECORDS):
                made = check(number)
                assert await trail.written(made, float("inf"))
                trail.add(made)  # it is recorded already

    asyncio.run(write())
    assert [path.name for path in sorted(directory.glob("serve-0-*"))] == [
        *("serve-0-000001.jsonl.gz", "serve-0-000002.jsonl.gz", "serve-0-000003.jsonl")
    ]
    return directory


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_what_was_written_is_sound(written: Path) -> None:
    result = verified(written)
    assert result.sound, result.problems
    (writer,) = result.writers
    assert (writer.files, writer.first, writer.last, writer.signed) == (3, 1, result.records, result.records)
    assert writer.checkpoints >= 5
    assert result.records >= RECORDS + writer.checkpoints + 4  # opened three times, closed once


def lines_of(directory: Path, number: int = 3) -> list[bytes]:
    return plain(directory, number).read_bytes().splitlines(keepends=True)


def plain(directory: Path, number: int) -> Path:
    """The file, not packed any more."""
    path = directory / f"serve-0-{number:06d}.jsonl"
    packed = directory / f"{path.name}.gz"
    if packed.exists():
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return path


SPOILT: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "deleted": lambda lines: lines[:7] + lines[8:],
    "first deleted": lambda lines: lines[1:],
    "last deleted": lambda lines: lines[:-1],
    "many deleted": lambda lines: lines[:3] + lines[12:],
    "swapped": lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]],
    "repeated": lambda lines: [*lines[:6], lines[5], *lines[6:]],
    "inserted": lambda lines: [*lines[:6], b'{"event":"decision.allowed"}\n', *lines[6:]],
    "an empty line": lambda lines: [*lines[:6], b"\n", *lines[6:]],
    "garbage at the end": lambda lines: [*lines, b"garbage"],
    "joined": lambda lines: [*lines[:6], lines[6].rstrip(b"\n"), *lines[7:]],
    "cut off": lambda lines: [*lines[:-1], lines[-1][:40]],
    "only the newline is missing": lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")],
    "emptied": lambda _: [],
}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_lines_are_found(copy: Path, how: str, number: int) -> None:
    path = plain(copy, number)
    path.write_bytes(b"".join(SPOILT[how](lines_of(copy, number))))
    assert not verified(copy).sound


def test_a_finding_names_file_line_and_record(copy: Path) -> None:
    lines = lines_of(copy)
    at = next(at for at, line in enumerate(lines) if b'"GET"' in line)
    lines[at] = lines[at].replace(b'"GET"', b'"PUT"')
    plain(copy, 3).write_bytes(b"".join(lines))
    (problem,) = verified(copy).problems
    seq = int(lines[at].split(b'"seq":')[1].split(b",")[0])
    assert str(problem) == f"serve-0-000003.jsonl:{at + 1}: record {seq}: it was changed, or the record before it was"


@pytest.mark.parametrize("number", [1, 3])
def test_every_changed_byte_is_found(copy: Path, number: int) -> None:
    """Any byte, any other value, also a newline."""
    path = plain(copy, number)
    whole = path.read_bytes()
    choose = random.Random(7)  # noqa: S311 - a test
    keys = public(copy)
    for _ in range(250):
        at, value = choose.randrange(len(whole)), choose.choice([choose.randrange(256), 10, 34, 48])
        if whole[at] == value:
            continue
        path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        assert verified(copy, keys=keys).problems, (at, value)
        path.write_bytes(whole[:at] + whole[at + 1 :])
        assert verified(copy, keys=keys).problems, ("deleted", at)
    path.write_bytes(whole)
    assert verified(copy, keys=keys).sound


def test_every_changed_byte_of_the_head_is_found(copy: Path) -> None:
    head, keys = copy / "serve-0.head", public(copy)
    whole = head.read_bytes()
    for at in range(len(whole)):
        head.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert verified(copy, keys=keys).problems, at


def test_a_changed_byte_of_a_packed_file_changes_a_record_or_nothing(copy: Path) -> None:
    path, keys = copy / "serve-0-000001.jsonl.gz", public(copy)
    whole = path.read_bytes()
    choose = random.Random(8)  # noqa: S311 - a test
    for at in [*range(18), *(choose.randrange(len(whole)) for _ in range(150)), *range(len(whole) - 8, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        if not verified(copy, keys=keys).problems:
            assert gzip.decompress(path.read_bytes()) == gzip.decompress(whole)


@pytest.mark.parametrize(
    "gone", ["serve-0-000001.jsonl.gz", "serve-0-000002.jsonl.gz", "serve-0-000003.jsonl", "serve-0.head"]
)
def test_a_missing_file_is_found(copy: Path, gone: str) -> None:
    (copy / gone).unlink()
    assert not verified(copy).sound


def test_a_chain_that_was_made_anew_is_not_signed(copy: Path) -> None:
    """Whoever edits a record can compute every later chain, and sign nothing."""
    lines = lines_of(copy)
    start = int(lines[0].split(b'"seq":')[1].split(b",")[0])
    previous = lines[0].split(b'"previous":')[1].split(b'"chain":"')[1][:64]
    forged = Chain("serve-0", start - 1, previous)
    bodies = [line[line.index(b'"event"') : -77] for line in lines]
    at = next(at for at, line in enumerate(bodies) if b'"GET"' in line)
    bodies[at] = bodies[at].replace(b'"GET"', b'"PUT"')
    plain(copy, 3).write_bytes(b"".join(map(forged.sealed, bodies)))
    result = verified(copy)
    assert any("signs another record" in problem.what for problem in result.problems)
    unsigned = [body for body in bodies if b'"chain.checkpoint"' not in body]
    forged = Chain("serve-0", start - 1, previous)
    plain(copy, 3).write_bytes(b"".join(map(forged.sealed, unsigned)))
    assert not verified(copy).sound


def test_a_forger_with_a_key_of_his_own_is_found(copy: Path, tmp_path: Path) -> None:
    mine = opened(tmp_path / "mine.key")
    head = Signed.read((copy / "serve-0.head").read_bytes())
    (copy / "serve-0.head").write_bytes(Signed.by(mine, "serve-0", head.seq, head.chain.encode()).head())
    (problem,) = verified(copy).problems
    assert problem.what == "the head: it is signed with an unknown key"
    result = verified(copy, keys=PublicKeys([mine.jwk]))
    assert sum("unknown key" in problem.what for problem in result.problems) >= 5  # the checkpoints


async def test_a_witness_finds_a_directory_that_was_put_back(copy: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(copy, tmp_path / "old"))
    async with trail_in(copy) as trail:
        await trail.write("token.issued", {"client": "x"})
    newest = read_witness(copy / "serve-0.head")
    assert verified(copy, newest).sound
    assert verified(old).sound  # nothing in it says that there was more
    (problem,) = verified(old, newest).problems
    assert problem.what == "it was there once, and is missing now"
    copies = tmp_path / "checkpoints.jsonl"
    copies.write_bytes(
        b"".join([*lines_of(old, 2), *lines_of(old, 3)])
    )  # what a sink got: the checkpoints among all records
    known = read_witness(copies)
    assert len(known) >= 2
    assert verified(old, known).writers[0].witnessed == len(known)
    for path in old.glob("serve-0*"):
        path.unlink()
    assert not verified(old, known).sound


@pytest.mark.parametrize("content", [b"", b"x\n", b'{"signature":1}\n', b'["signature"]\n', b'{"signature"\n'])
def test_a_witness_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(AuditError):
        read_witness(tmp_path / "w")


def test_nothing_is_not_sound(tmp_path: Path, written: Path) -> None:
    assert not verify([tmp_path], public(written)).sound
    with pytest.raises(AuditError):
        verify([tmp_path / "nowhere"], public(written))
    with pytest.raises(AuditError):
        PublicKeys([])


def test_other_processes_find_the_same(copy: Path) -> None:
    lines = lines_of(copy, 1)
    plain(copy, 1).write_bytes(b"".join(lines[:4] + lines[5:]))
    alone, helped = verify([copy], public(copy), processes=0), verify([copy], public(copy), processes=2)
    assert alone.problems == helped.problems
    assert alone.problems
