"""The recorder and its output: nothing lost quietly, nothing that slows a Check."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from extauthz.model import Allow, deny
from extauthz.tasks import Tasks
from extauthz.telemetry import output, record
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.output import Output
from extauthz.telemetry.recorder import Recorder
from extauthz.telemetry.settings import RecordSettings
from extauthz.telemetry.trail import Trail

if TYPE_CHECKING:
    from pathlib import Path


def settings(target: object, **more: Any) -> RecordSettings:
    return RecordSettings.model_validate({"output": str(target), "interval": "1ms", **more})


def trail() -> Trail:
    made = Trail(0.0)
    made.decision = Allow()
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines() if line]


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def until(path: Path, count: int) -> list[dict[str, Any]]:
    def written() -> int:
        return path.read_bytes().count(b"\n") if path.exists() else 0

    while written() < count:  # noqa: ASYNC110 - another thread writes
        await asyncio.sleep(0.002)
    return lines(path)


async def test_records_are_written_while_checks_run(tmp_path: Path) -> None:
    path, metrics, tasks = tmp_path / "r.jsonl", Metrics(), Tasks()
    recorder = Recorder(settings(path, labels={"zone": "edge"}), metrics, labels={"worker": "1", "zone": "x"})
    recorder.start(tasks)
    trails = [trail() for _ in range(100)]
    for made in trails[:70]:
        recorder.submit(made)
    await until(path, 70)
    for made in trails[70:]:
        recorder.submit(made)
    got = await until(path, 100)
    assert [line["decision_id"] for line in got] == [made.decision_id for made in trails]
    assert got[0]["labels"] == {"worker": "1", "zone": "edge"}
    await recorder.close()
    await tasks.close()
    assert sample(metrics, "extauthz_records_total") == 100
    assert sample(metrics, "extauthz_checks_total", route="none", decision="allow") == 100
    assert path.stat().st_mode & 0o007 == 0


async def test_close_writes_what_waits_even_when_the_task_is_gone(tmp_path: Path) -> None:
    path, tasks = tmp_path / "r.jsonl", Tasks()
    recorder = Recorder(settings(path), Metrics())
    recorder.start(tasks)
    for _ in range(500):
        recorder.submit(trail())
    await asyncio.sleep(0.003)  # the task may be anywhere in its work
    await tasks.close()
    await recorder.close()
    assert len(lines(path)) == 500


async def test_half_a_buffer_is_written_before_the_interval_ends(tmp_path: Path) -> None:
    path, tasks = tmp_path / "r.jsonl", Tasks()
    recorder = Recorder(settings(path, interval="10s", buffer=64), Metrics())
    recorder.start(tasks)
    await asyncio.sleep(0)
    for _ in range(40):
        recorder.submit(trail())
    assert len(await until(path, 40)) == 40
    await recorder.close()
    await tasks.close()


async def test_a_full_buffer_drops_lines_but_counts_checks(tmp_path: Path) -> None:
    path, metrics = tmp_path / "r.jsonl", Metrics()
    recorder = Recorder(settings(path, buffer=64), metrics)
    for _ in range(100):
        recorder.submit(trail())
    await recorder.close()
    recorder.submit(trail())
    assert len(lines(path)) == 64
    assert sample(metrics, "extauthz_records_dropped_total", reason="buffer") == 37
    assert sample(metrics, "extauthz_checks_total", route="none", decision="allow") == 101


async def test_a_check_cancelled_in_its_finally_is_still_recorded(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorder = Recorder(settings(path), Metrics())

    async def check() -> None:
        made = Trail(0.0)
        try:
            await asyncio.sleep(60)
        finally:
            recorder.submit(made)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(check())
        await asyncio.sleep(0)
        task.cancel()
    await recorder.close()
    (got,) = lines(path)
    assert (got["code"], got["result"]["allow"]) == ("engine.internal", False)


async def test_no_output_still_counts(tmp_path: Path) -> None:
    metrics, tasks = Metrics(), Tasks()
    recorder = Recorder(settings("none"), metrics)
    recorder.start(tasks)
    recorder.submit(trail())
    recorder.reopen()
    await recorder.close()
    await tasks.close()
    assert sample(metrics, "extauthz_checks_total", route="none", decision="allow") == 1
    assert sample(metrics, "extauthz_records_total") == 0


async def test_a_defect_in_one_record_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, metrics = tmp_path / "r.jsonl", Metrics()
    recorder = Recorder(settings(path), metrics)
    whole = record.line

    def line(made: Trail, *rest: Any, **more: Any) -> bytes:
        if made.host == "bad":
            raise KeyError(made.host)
        return whole(made, *rest, **more)

    monkeypatch.setattr(record, "line", line)
    for host in ("good", "bad", "bad", "good"):
        made = trail()
        made.host = host
        recorder.submit(made)
    broken = trail()
    broken.ns = []
    recorder.submit(broken)
    await recorder.close()
    assert len(lines(path)) == 2
    assert sample(metrics, "extauthz_records_dropped_total", reason="record") == 3
    assert [entry.message for entry in caplog.records] == ["a decision record could not be made"]


async def written(target: object, batches: list[list[bytes]]) -> tuple[int, int]:
    counts = [0, 0]

    def add(index: int, count: int) -> None:
        counts[index] += count

    out = Output(str(target), lambda count: add(0, count), lambda count: add(1, count))
    for batch in batches:
        if not out.write(batch):
            add(1, len(batch))
    await out.close()
    await out.close()
    assert not out.write([b"late\n"])
    return counts[0], counts[1]


async def test_a_file_that_was_moved_is_opened_again(tmp_path: Path) -> None:
    path, done = tmp_path / "r.jsonl", threading.Event()
    out = Output(str(path), lambda _: done.set(), lambda _: None)

    async def write(line: bytes) -> None:
        done.clear()
        out.write([line])
        while not done.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)

    await write(b"1\n")
    path.rename(tmp_path / "r.1")
    await write(b"2\n")
    path.unlink()
    await write(b"3\n")
    out.reopen()
    await write(b"4\n")
    await out.close()
    assert (tmp_path / "r.1").read_bytes() == b"1\n"
    assert path.read_bytes() == b"3\n4\n"


async def test_a_file_that_cannot_be_opened_loses_lines_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await written(tmp_path / "none" / "r.jsonl", [[b"1\n", b"2\n"], [b"3\n"]]) == (0, 3)
    assert [entry.message for entry in caplog.records] == ["decision records cannot be written: FileNotFoundError"]


async def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"0\n")
    assert await written(path, [[b"1\n", b"2\n"], [b"3\n"]]) == (3, 0)
    assert path.read_bytes() == b"0\n1\n2\n3\n"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """(reading end, its target's name): a pipe that stands for stdout, and does not block."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monkeypatch.setitem(output._STANDARD, "stdout", writing)
    monkeypatch.setattr(output, "_PATIENCE", 0.05)
    yield reading
    os.close(reading)
    os.close(writing)


async def test_a_stuck_reader_loses_lines_and_nothing_else(pipe: int, caplog: pytest.LogCaptureFixture) -> None:
    batches = [[b"x" * 4000 + b"\n"] * 10 for _ in range(100)]
    good, lost = await written("stdout", batches)
    assert good + lost == 1000
    assert 0 < good < 20
    text = os.read(pipe, 1_000_000)
    assert text.count(b"\n") >= good


async def test_writes_to_a_pipe_are_whole_lines(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = os.write

    def counting(descriptor: int, data: memoryview) -> int:
        sizes.append((len(data), bytes(data[-1:])))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counting)
    batch = [str(number % 10).encode() * (number * 37 % 3000) + b"\n" for number in range(20)]
    assert await written("stdout", [batch]) == (20, 0)
    assert all(size <= 4096 and end == b"\n" for size, end in sizes)
    assert os.read(pipe, 1_000_000) == b"".join(batch)


async def test_after_a_torn_line_a_new_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    write = os.write
    failing = [True]

    def torn(descriptor: int, data: memoryview) -> int:
        if failing:
            failing.pop()
            write(descriptor, data[:3])
            raise OSError(28, "no space left")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", torn)
    assert await written(path, [[b"12345\n"], [b"67890\n"]]) == (1, 1)
    assert path.read_bytes() == b"123\n67890\n"


async def test_a_denial_reaches_record_and_metrics(tmp_path: Path) -> None:
    path, metrics = tmp_path / "r.jsonl", Metrics()
    recorder = Recorder(settings(path), metrics)
    made = trail()
    made.decision = deny("token.expired")
    recorder.submit(made)
    await recorder.close()
    (got,) = lines(path)
    labels = {"route": "none", "service": "", "layer": "token", "code": "token.expired"}
    assert got["code"] == "token.expired"
    assert sample(metrics, "extauthz_denials_total", **labels) == 1
