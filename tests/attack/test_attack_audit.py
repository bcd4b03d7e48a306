"""Attacks on the audit trail: by callers who write into records, and by whoever can touch the files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from extauthz.audit.chain import GENESIS, Chain, Sealed, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.key import opened
from extauthz.audit.layout import chain_files
from tests.support.audit import check, public, records, trail_in, verified

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack


async def written(directory: Path, count: int = 5) -> list[bytes]:
    async with trail_in(directory) as trail:
        for number in range(count):
            await trail.written(check(number), float("inf"))
    return (directory / "serve-0-000001.jsonl").read_bytes().splitlines(keepends=True)


async def test_a_caller_cannot_write_lines_or_members_of_his_own(tmp_path: Path) -> None:
    """Whatever stands in a request stays inside one string of one line."""
    hostile = 'x"}\n{"schema":1,"writer":"serve-0","seq":99,"event":"chain.closed","chain":"' + "0" * 64 + '"}\n'
    async with trail_in(tmp_path) as trail:
        await trail.written(check(1, request_id=hostile, host=hostile, path=hostile, resource_id=hostile), float("inf"))
        await trail.write("token.refused", {"detail": hostile, 'a":1,"seq': 7})
    assert verified(tmp_path).sound
    events = [record["event"] for record in records(tmp_path)]
    assert events == ["chain.opened", "decision.allowed", "token.refused", "chain.closed"]
    assert [record["seq"] for record in records(tmp_path)] == [1, 2, 3, 4]


async def test_a_record_of_another_writer_is_no_record_here(tmp_path: Path) -> None:
    lines = await written(tmp_path)
    (tmp_path / "serve-1-000001.jsonl").write_bytes(b"".join(lines))  # one writer's chain sold as another's
    (tmp_path / "serve-1.head").write_bytes((tmp_path / "serve-0.head").read_bytes())
    found = {problem.what for problem in verified(tmp_path).problems}
    assert "is a record of another writer, serve-0" in found
    assert "the head is another writer's" in found


async def test_a_signature_cannot_be_moved_to_another_place(tmp_path: Path) -> None:
    lines = await written(tmp_path, 20)
    signed = Signed.read((tmp_path / "serve-0.head").read_bytes())
    earlier = Sealed.of(lines[4])
    assert earlier is not None
    moved = Signed("serve-0", earlier.seq, earlier.chain.decode(), signed.kid, signed.signature)
    (tmp_path / "serve-0.head").write_bytes(moved.head())
    (tmp_path / "serve-0-000001.jsonl").write_bytes(b"".join(lines[:5]))  # cut to fit
    assert [problem.what for problem in verified(tmp_path).problems] == ["the head: its signature is wrong"]


async def test_a_head_in_other_words_is_no_head(tmp_path: Path) -> None:
    await written(tmp_path)
    head = tmp_path / "serve-0.head"
    good = head.read_bytes()
    document = json.loads(good)
    for other in (
        good + b"\n",
        b" " + good,
        json.dumps(document).encode() + b"\n",
        json.dumps({**document, "x": 1}, separators=(",", ":")).encode() + b"\n",
        good.replace(b'"seq":7', b'"seq":7.0'),
        good.replace(b'"schema":1', b'"schema":2'),
        b"[]",
        b"",
        b"{" * 500,
        b"x" * 5000,
    ):
        head.write_bytes(other)
        assert verified(tmp_path).problems, other


async def test_a_fragment_cannot_hide_a_record(tmp_path: Path) -> None:
    """A record that is cut and declared as torn afterwards: only the writer can declare it, and only at the end."""
    lines = await written(tmp_path)
    file = tmp_path / "serve-0-000001.jsonl"
    file.write_bytes(b"".join([*lines[:3], lines[3][:50] + b"\n", *lines[4:]]))
    found = [problem.what for problem in verified(tmp_path).problems]
    assert "what stands before it is no record of the chain, and was not named" in found
    assert any("missing" in what for what in found)


async def test_a_forged_tail_is_not_signed(tmp_path: Path) -> None:
    """Whoever may append can compute the chain; the head does not know what he wrote."""
    lines = await written(tmp_path)
    last = Sealed.of(lines[-1])
    assert last is not None
    forged = Chain("serve-0", last.seq, last.chain).sealed(b'"event":"decision.allowed","timestamp":""')
    with (tmp_path / "serve-0-000001.jsonl").open("ab") as file:
        file.write(forged)
    (problem,) = verified(tmp_path).problems
    assert (problem.seq, "are not signed" in problem.what) == (last.seq + 1, True)


def test_names_that_lead_elsewhere_are_no_files_of_a_chain(tmp_path: Path) -> None:
    names = [
        "serve-0-1.jsonl",
        "Serve-0-000001.jsonl",
        ".serve-0-000001.jsonl",
        "serve-0-000001.jsonl.gz.gz",
        "x.jsonl",
    ]
    for name in names:
        (tmp_path / name).write_text("x\n")
    assert chain_files(tmp_path.iterdir()) == []


async def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A packed file of one endless line: the bound on a line is met long before the memory ends."""
    import gzip  # noqa: PLC0415 - here alone

    await written(tmp_path)
    (tmp_path / "serve-0-000001.jsonl").unlink()
    (tmp_path / "serve-0-000001.jsonl.gz").write_bytes(gzip.compress(b"\0" * (64 << 20), 1))
    assert any("a line is longer" in problem.what for problem in verified(tmp_path).problems)


async def test_nobody_else_may_read_the_key_or_change_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    await written(directory)
    for path in directory.iterdir():
        assert not path.stat().st_mode & 0o027, path.name
    assert directory.stat().st_mode & 0o777 == 0o750
    assert opened(directory / "audit.key").kid
    os.chmod(directory / "audit.key", 0o644)  # noqa: PTH101 - what an operator must not do
    with pytest.raises(AuditError):
        async with trail_in(directory):
            pass


async def test_the_key_never_leaves_its_file(tmp_path: Path) -> None:
    await written(tmp_path)
    lines = (tmp_path / "audit.key").read_text().splitlines()[1:-1]
    for path in tmp_path.iterdir():
        if path.name != "audit.key":
            assert not any(line in path.read_text() for line in lines)
    assert GENESIS.decode() in (tmp_path / "serve-0-000001.jsonl").read_text()
    assert "d" not in public(tmp_path).jwks[0]
