"""The audit trail when processes are killed, disks are full, slots are contested and receivers are slow."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.audit.fault import AuditError
from tests.support.audit import check, events, records, trail_in, verified

if TYPE_CHECKING:
    from extauthz.audit.trail import AuditTrail

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from tests.support.audit import check, trail_in

    async def main():
        settings = {"rotate": {"size": "256KiB"}, "checkpoint": {"records": 50}}
        async with trail_in(Path(sys.argv[1]), **settings) as trail:
            print(trail.writer, flush=True)
            number = 0
            while True:
                for _ in range(20):
                    trail.add(check(number))
                    number += 1
                await trail.write("token.issued", {"n": number})
                print(number, flush=True)

    asyncio.run(main())
    """
)


def writing(directory: Path, **more: Any) -> subprocess.Popen[str]:
    """A process that writes as fast as it can, and says what the operating system has."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **more)


async def well(trail: AuditTrail) -> None:
    """Until the trail has noticed by itself."""
    while not trail.healthy:  # noqa: ASYNC110 - a thread finds out, which tells nobody
        await asyncio.sleep(0.01)


async def test_a_killed_writer_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    """SIGKILL in the middle of heavy writing, again and again; every chain goes on and is whole."""
    choose = random.Random(5)  # noqa: S311 - a test
    confirmed: list[int] = []
    for _ in range(6):
        process = writing(tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "serve-0\n"  # the same chain: the lock went with the process
        process.stdout.readline()
        await asyncio.sleep(choose.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split("\n")[:-1]  # a word that was cut off was said all the same
        confirmed.append(int(lines[-1]) if lines else 20)
        process.wait()
        process.stdout.close()
    async with trail_in(tmp_path):
        pass
    result = verified(tmp_path)
    assert result.sound, result.problems
    assert result.writers[0].signed == result.writers[0].last == result.records
    told = [record for file in sorted(tmp_path.glob("serve-0-*")) for record in _records(file)]
    runs: list[int] = []
    for record in told:
        if record["event"] == "chain.opened" and record["reason"] == "started":
            runs.append(0)
        elif record["event"] == "token.issued":
            runs[-1] = record["n"]
    assert len(runs) == 7
    assert all(there >= said for there, said in zip(runs, confirmed, strict=False))


def _records(file: Path) -> list[dict[str, Any]]:
    import gzip  # noqa: PLC0415 - here alone

    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    found = []
    for line in content.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut off; the record after it says so
    return found


@pytest.mark.parametrize("left", [1, 40, -78, -1])
async def test_a_line_that_was_cut_off_is_named_by_the_next_record(tmp_path: Path, left: int) -> None:
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 1})
    file = tmp_path / "serve-0-000001.jsonl"
    whole = file.read_bytes()
    head = (tmp_path / "serve-0.head").read_bytes()
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 2})
    more = file.read_bytes()[len(whole) :].splitlines(keepends=True)[0]
    file.write_bytes(whole + more[:left])  # what a kill in the middle of write(2) leaves
    (tmp_path / "serve-0.head").write_bytes(head)
    assert not verified(tmp_path).sound
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 3})
    result = verified(tmp_path)
    assert result.sound, result.problems
    content = file.read_bytes()
    assert content.startswith(whole + more[:left] + b"\n")  # nothing was cut
    last = json.loads(content.splitlines()[-3])
    assert last["event"] == "chain.opened"
    if left == -1:  # only the newline was missing: it is a record
        assert (last["unsigned"], "torn" in last) == (1, False)
    else:
        assert [each["bytes"] for each in last["torn"]] == [len(more[:left])]
        assert "unsigned" not in last


async def test_records_that_were_not_signed_yet_are_adopted_and_counted(tmp_path: Path) -> None:
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 1})
        head = (tmp_path / "serve-0.head").read_bytes()
        await trail.write("token.issued", {"n": 2})
    (tmp_path / "serve-0.head").write_bytes(head)
    (problem,) = verified(tmp_path).problems
    assert "are not signed" in problem.what
    async with trail_in(tmp_path):
        pass
    assert verified(tmp_path).sound
    assert next(r for r in reversed(records(tmp_path)) if r["event"] == "chain.opened")["unsigned"] == 2


async def test_a_spoilt_chain_is_left_as_evidence(tmp_path: Path) -> None:
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 1})
    file = tmp_path / "serve-0-000001.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    spoilt = file.read_bytes()
    async with trail_in(tmp_path) as trail:
        assert trail.writer == "serve-1"
        await trail.write("token.issued", {"n": 2})
    assert file.read_bytes() == spoilt
    assert {problem.file for problem in verified(tmp_path).problems} == {"serve-0.head"}


async def test_processes_at_once_get_writers_of_their_own(tmp_path: Path) -> None:
    processes = [writing(tmp_path) for _ in range(3)]
    names = [process.stdout.readline().strip() for process in processes if process.stdout]
    assert sorted(names) == ["serve-0", "serve-1", "serve-2"]
    for process in processes:
        process.kill()
        process.communicate()
    for name in ("serve-0", "serve-1", "serve-2"):
        async with trail_in(tmp_path) as trail, trail_in(tmp_path) as second, trail_in(tmp_path) as third:
            assert {trail.writer, second.writer, third.writer} >= {name}
    result = verified(tmp_path)
    assert result.sound, result.problems
    assert len(result.writers) == 3


async def test_a_running_writer_is_verified_while_it_writes_and_rotates(tmp_path: Path) -> None:
    process = writing(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(5):
        process.stdout.readline()
        result = await asyncio.to_thread(verified, tmp_path)
        assert result.sound, result.problems
        assert result.writers[0].running
        assert result.writers[0].signed > 0
    process.kill()
    process.communicate()


FULL = textwrap.dedent(
    """
    import asyncio, resource, signal, sys
    from pathlib import Path
    from extauthz.audit.fault import AuditError
    from tests.support.audit import check, trail_in

    async def main():
        async with trail_in(Path(sys.argv[1])) as trail:
            await trail.write("token.issued", {"n": 0})
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
            refused = 0
            for number in range(40):
                try:
                    await trail.write("token.issued", {"n": number, "text": "x" * 1000})
                except AuditError:
                    refused += 1
            assert refused > 20, refused
            assert not trail.healthy
            for number in range(5):
                trail.add(check(number))
            assert not await trail.written(check(1), float("inf"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            while not trail.healthy:
                await asyncio.sleep(0.01)
            await trail.write("token.issued", {"n": 99})
            print(refused)

    asyncio.run(main())
    """
)


async def test_a_full_disk_refuses_and_gets_well_by_itself(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: write(2) takes a part of a batch, then nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FULL, str(tmp_path)), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    result = verified(tmp_path)
    assert result.sound, result.problems
    written = records(tmp_path)
    assert sum(record["event"] == "token.issued" for record in written) == 42 - int(
        out
    )  # what was refused is not there
    resumed = [record for record in written if record["event"] == "chain.resumed"]
    assert resumed
    assert resumed[0]["fault"] == "File too large"
    assert sum(record["event"].startswith("decision.") for record in written) == 5  # they waited
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # ours was never touched


async def test_a_file_that_is_deleted_while_it_is_written_is_noticed(tmp_path: Path) -> None:
    """No record is confirmed that nobody will ever find; the trail goes on as another writer."""
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {"n": 1})
        (tmp_path / "serve-0-000001.jsonl").unlink()
        with pytest.raises(AuditError):
            await trail.write("token.issued", {"n": 2})
        await well(trail)
        await trail.write("token.issued", {"n": 3})
        assert trail.writer == "serve-1"
    assert events(tmp_path, "serve-1").count("token.issued") == 1
    assert [problem.what for problem in verified(tmp_path).problems] == ["its files are missing"]


async def test_what_has_no_room_is_counted_and_the_count_is_recorded(tmp_path: Path) -> None:
    async with trail_in(tmp_path, buffer=64) as trail:
        await trail.write("token.issued", {})
        (tmp_path / ".serve-0.head").mkdir()  # the head cannot be written
        with pytest.raises(AuditError):
            await trail.write("token.issued", {})
        for number in range(100):
            trail.add(check(number))
        assert not trail.healthy
        assert trail.numbers()["dropped"] == 36
        with pytest.raises(AuditError):
            await trail.write("token.issued", {})
        (tmp_path / ".serve-0.head").rmdir()
        await well(trail)
        await trail.write("token.issued", {})
    assert verified(tmp_path).sound
    (lost,) = [record for record in records(tmp_path) if record["event"] == "records.dropped"]
    assert lost["count"] == 36
    assert events(tmp_path).count("decision.allowed") == 64


async def test_a_trail_that_cannot_write_at_its_end_ends_all_the_same(tmp_path: Path) -> None:
    async with trail_in(tmp_path) as trail:
        await trail.write("token.issued", {})
        (tmp_path / ".serve-0.head").mkdir()
        for number in range(10):
            trail.add(check(number))
    assert trail.numbers()["dropped"] == 10
    os.rmdir(tmp_path / ".serve-0.head")  # noqa: PTH106 - the opposite of what the test made
    assert verified(tmp_path).sound
