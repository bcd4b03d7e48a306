"""How fast the audit trail is written and verified: `python -m bench.audit [--records 1000000]`.

Records are those of allowed Checks. The first figure is the whole way of a record through a server's trail; the second
the chain alone (hash, write, signed head for every 256 records); `write` is what an issuance waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from extauthz.audit import records
from extauthz.audit.files import ChainWriter
from extauthz.audit.key import PublicKeys, opened
from extauthz.audit.mask import Masking
from extauthz.audit.settings import AuditSettings
from extauthz.audit.slot import claimed
from extauthz.audit.trail import AuditTrail
from extauthz.audit.verify import verify
from extauthz.clock import SystemClock
from tests.support.audit import check

BATCH = 256
WAITS = 300
SPOILT = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    wanted: int = parser.parse_args().records
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(_trail(directory / "trail", min(wanted, 200_000)))
        settings = AuditSettings(directory=directory / "chain")
        _chain(settings, wanted)
        _verify(directory / "chain", settings)


async def _trail(directory: Path, wanted: int) -> None:
    checks = [check(number) for number in range(1000)]
    trail = await AuditTrail.open(AuditSettings(directory=directory, buffer=100_000), "serve", SystemClock())
    busy, started = 0.0, time.perf_counter()
    for first in range(0, wanted, 1000):
        before = time.perf_counter()
        for each in checks[: wanted - first]:
            trail.add(each)
        busy += time.perf_counter() - before
        while trail.numbers()["waiting"] > 50_000:  # noqa: ASYNC110 - a thread empties it
            await asyncio.sleep(0.001)
    while trail.numbers()["waiting"]:  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.001)
    seconds = time.perf_counter() - started
    print(f"trail      {wanted} Checks, {round(wanted / seconds)} records/s; add {busy / wanted * 1e6:.1f} µs each")
    waits = []
    for number in range(WAITS):
        before = time.perf_counter()
        await trail.write("token.issued", {"client": "spiffe://bank.example/gateway", "n": number})
        waits.append(time.perf_counter() - before)
    cuts = statistics.quantiles(waits, n=100)
    print(f"write      {WAITS} one after the other, p50 {cuts[49] * 1e6:.0f} µs, p99 {cuts[98] * 1e6:.0f} µs")
    await trail.close()
    print(f"           dropped {trail.numbers()['dropped']}")


def _chain(settings: AuditSettings, wanted: int) -> None:
    if settings.directory is None or settings.key_file is None:
        raise SystemExit("no directory")
    settings.directory.mkdir()
    key, masking = opened(settings.key_file), Masking((), (), b"-")
    writer = ChainWriter(settings.directory, claimed(settings.directory, "serve", key), key, settings, SystemClock())
    bodies = [records.decision(check(number), masking) for number in range(BATCH)]
    started, size = time.perf_counter(), 0
    for number in range(0, wanted, BATCH):
        signed = [writer.checkpoint()] if number % (4 * BATCH) == 0 and number else []
        if writer.due:
            writer.next_file()
            signed = []
        size += sum(map(len, writer.write([*signed, *bodies[: wanted - number]])))
    seconds = time.perf_counter() - started
    writer.close()
    print(f"chain      {writer.seq} records, {size >> 20} MiB, {round(writer.seq / seconds)} records/s")


def _verify(directory: Path, settings: AuditSettings) -> None:
    if settings.key_file is None:
        raise SystemExit("no key")
    keys = PublicKeys([opened(settings.key_file).jwk])
    for processes, words in ((0, f"{os.cpu_count()} CPUs"), (1, "one helper")):
        result = verify([directory], keys, processes=processes)
        if not result.sound:
            raise SystemExit(f"not sound: {result.problems[:3]}")
        rate = round(result.records / result.seconds)
        print(f"verify     {result.records} records, {words}, {rate} records/s, {result.seconds:.1f} s")
    files = sorted(directory.glob("serve-0-*"))
    found = 0
    for _ in range(SPOILT):
        path = random.choice(files)  # noqa: S311 - a test
        at = random.randrange(path.stat().st_size)  # noqa: S311 - the same
        with path.open("r+b") as file:
            file.seek(at)
            (old,) = file.read(1)
            file.seek(at)
            file.write(bytes([old ^ (1 << random.randrange(8))]))  # noqa: S311 - the same
        found += not verify([directory], keys).sound
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([old]))
    print(f"mutated    {found} of {SPOILT} single bits found")


if __name__ == "__main__":
    main()
