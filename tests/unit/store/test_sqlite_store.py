"""What only a file can do: be private, be of another version, be raced for by processes."""

from __future__ import annotations

import asyncio
import sqlite3
import sys

import pytest

from extauthz.clock import ManualClock
from extauthz.store.settings import SqliteStoreSettings
from extauthz.store.sqlite import SqliteStore
from extauthz.store.store import StoreError

RACER = """
import asyncio, sys
from pathlib import Path
from extauthz.clock import SystemClock
from extauthz.store.settings import SqliteStoreSettings
from extauthz.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(SqliteStoreSettings(kind="sqlite", path=Path(sys.argv[1]), timeout="30s"), SystemClock())
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        print("added", number, await store.add("things", f"k{number}", sys.argv[2].encode()))
        print("taken", number, await store.take("given", f"k{number}") is not None)
        print("logged", await store.append("events", b""), True)
    await store.close()

asyncio.run(main())
"""


def opened(path, **changes) -> SqliteStore:
    return SqliteStore(SqliteStoreSettings(kind="sqlite", path=path, **{"timeout": "20s"} | changes), ManualClock())


async def test_the_file_is_private(tmp_path) -> None:
    path = tmp_path / "state.db"
    store = opened(path)
    await store.put("things", "k", b"1")
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    await store.close()
    again = opened(path)
    assert await again.get("things", "k") == b"1"
    await again.close()


async def test_a_file_that_others_may_read_is_refused(tmp_path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o644)
    store = opened(path)
    with pytest.raises(StoreError, match="chmod 600"):
        await store.get("things", "k")
    path.chmod(0o600)
    assert await store.get("things", "k") is None
    await store.close()


async def test_a_file_of_another_version_is_left_alone(tmp_path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o600)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    store = opened(path)
    with pytest.raises(StoreError, match="another version"):
        await store.get("things", "k")
    await store.close()


async def test_a_directory_that_is_not_there(tmp_path) -> None:
    store = opened(tmp_path / "none" / "state.db")
    with pytest.raises(StoreError, match="No such file"):
        await store.get("things", "k")
    await store.close()


async def test_the_file_grows_to_its_bound_and_recovers(tmp_path) -> None:
    store = opened(tmp_path / "state.db", max_size="1MiB")
    await store.put("things", "k", b"1")
    with pytest.raises(StoreError, match="full"):
        await asyncio.gather(*(store.put("things", f"big{number}", bytes(100_000)) for number in range(20)))
    assert await store.get("things", "k") == b"1"
    for key, _ in await store.scan("things", "big"):
        await store.delete("things", key)
    await store.put("things", "small", b"2")
    assert await store.get("things", "small") == b"2"
    await store.close()


async def test_processes_race_and_one_wins(tmp_path) -> None:
    path = tmp_path / "state.db"
    store = opened(path)
    for number in range(40):
        await store.put("given", f"k{number}", b"1")
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RACER, str(path), str(name)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in range(2)
    ]
    for racer in racers:
        assert await racer.stdout.readline() == b"ready\n"
    outputs = [out.decode().splitlines() for out, _ in await asyncio.gather(*(r.communicate(b"go\n") for r in racers))]
    lines = [line for output in outputs for line in output]
    for number in range(40):
        for what in ("added", "taken"):
            assert sorted(line for line in lines if line.startswith(f"{what} {number} ")) == [
                f"{what} {number} False",
                f"{what} {number} True",
            ]
        winner = next(name for name in range(2) if f"added {number} True" in outputs[name])
        assert await store.get("things", f"k{number}") == b"%d" % winner
    assert sorted(int(line.split()[1]) for line in lines if line.startswith("logged")) == list(range(1, 81))
    await store.close()
