"""Whoever has the audit files, and not the key: what a verification must still find."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import orjson
import pytest

from extauthz.audit.chain import Chain, Sealed, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.slot import UNSIGNED
from tests.support.audit import check, events, trail_in, verified

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack
FORGED = b'"event":"decision.allowed","timestamp":"2027-01-15T08:00:00.000+00:00","decision_id":"forged"'


async def written(directory: Path, count: int = 5) -> Path:
    async with trail_in(directory, checkpoint={"interval": "10ms"}) as trail:
        for number in range(count):
            await trail.written(check(number), float("inf"))
            if number == count // 2:
                while "chain.checkpoint" not in events(directory):
                    await trail.written(check(number), float("inf"))
    return directory / "serve-0-000001.jsonl"


def rewritten(file: Path, forged: int) -> None:
    """The end of the trail from its first checkpoint on, whose signature becomes the head again."""
    lines = file.read_bytes().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if b'"event":"chain.checkpoint"' in line)
    signed = Signed.of(orjson.loads(lines[at]))
    kept = lines[: signed.seq]
    last = Sealed.of(kept[-1])
    assert last is not None
    chain = Chain(last.writer, last.seq, last.chain)
    file.write_bytes(b"".join([*kept, *(chain.sealed(FORGED) for _ in range(forged))]))
    file.with_name("serve-0.head").write_bytes(signed.head())


async def test_who_holds_the_lock_does_not_vouch_for_a_forged_end(tmp_path: Path) -> None:
    """The lock may be held by anybody who may read it; a writer that runs signs what it wrote."""
    rewritten(await written(tmp_path), 3)
    lock = os.open(tmp_path / "serve-0.lock", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = verified(tmp_path)
    finally:
        os.close(lock)
    assert not result.sound
    assert any("are not signed" in problem.what for problem in result.problems)


async def test_a_forged_end_is_not_signed_by_the_next_start(tmp_path: Path) -> None:
    """A crash leaves a batch that nobody has signed; more than that was written by somebody else."""
    rewritten(await written(tmp_path), UNSIGNED + 1)
    async with trail_in(tmp_path) as trail:
        assert trail.writer == "serve-1"  # what was found is left as evidence
    found = [problem.what for problem in verified(tmp_path).problems]
    assert any("are not signed" in what for what in found)


async def test_what_a_start_has_taken_over_unsigned_is_told(tmp_path: Path) -> None:
    rewritten(await written(tmp_path), 2)
    async with trail_in(tmp_path):
        pass
    result = verified(tmp_path)
    assert result.sound  # a crash looks the same
    assert [writer.adopted for writer in result.writers] == [2]


@pytest.mark.parametrize("name", ["serve-0-000002.jsonl", "serve-0-000002.jsonl.gz", "serve-1.head"])
async def test_a_pipe_among_the_files_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    await written(tmp_path)
    os.mkfifo(tmp_path / name)
    assert not verified(tmp_path).sound
    if name.startswith("serve-0"):
        async with trail_in(tmp_path) as trail:
            assert trail.writer != "serve-0"


@pytest.mark.parametrize("name", ["serve-0-000001.jsonl", ".serve-0.head", "serve-0.lock"])
async def test_a_link_that_was_put_there_first_is_not_followed(tmp_path: Path, name: str) -> None:
    directory, victim = tmp_path / "audit", tmp_path / "victim"
    directory.mkdir()
    victim.write_text("precious\n")
    (directory / name).symlink_to(victim)
    try:
        async with trail_in(directory) as trail:
            await trail.written(check(1), float("inf"))
    except AuditError:
        pass
    assert victim.read_text() == "precious\n"
