"""How fast the audit trail is indexed and searched: `python -m bench.audit_search [--records 1000000]`.

The records have the members and the size of real ones, in chained files of `--file` MiB; all but the newest of each
writer are packed, in gzip members of 1 MiB unless `--whole`. Searches are for the newest hundred.
"""

from __future__ import annotations

import argparse
import gzip
import random
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.audit.chain import Chain
from extauthz.audit.layout import path_of
from extauthz.audit.query import Query
from extauthz.audit.search import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECTS: Final = 1000
WORKLOADS: Final = 50
ROUTES: Final = 20
TENANTS: Final = 25
WRITERS: Final = ("serve-0", "serve-1", "authority-0")
CODES: Final = ("token.expired", "token.audience", "role.denied", "attribute.tenant_mismatch", "workload.route_denied")
START: Final = 1_790_000_000.0
MEMBER: Final = 1024 * 1024
SOUGHT: Final = 40
"""Searches of each kind."""


def record(number: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A writer, and what it says: nine decisions of ten are allowed, each fifteenth record is an exchange."""
    who = f"user-{chance.randrange(SUBJECTS):04d}"
    workload = f"spiffe://example.org/ns/prod/sa/service-{chance.randrange(WORKLOADS):02d}"
    when = datetime.fromtimestamp(START + number * 0.01, UTC).isoformat(timespec="milliseconds")
    ids = {"timestamp": when, "trace_id": f"{chance.getrandbits(128):032x}"}
    tenant = f"tenant-{int(who[5:]) % TENANTS}"
    subject = {
        "type": "user",
        "id": who,
        "credential": "jwt",
        "issuer": "https://login.example.org",
        "token": f"{chance.getrandbits(64):016x}",
        "token_id": f"{chance.getrandbits(96):024x}",
        "tenant": tenant,
    }
    made = {
        "audience": f"service-{chance.randrange(WORKLOADS):02d}",
        "actor": workload,
        "purpose": "transfer",
        "token": f"{chance.getrandbits(64):016x}",
        "token_id": f"{chance.getrandbits(96):024x}",
    }
    if number % 15 == 0:
        return "authority-0", {
            "event": "token.exchanged",
            **ids,
            "workload": workload,
            "subject": subject,
            "exchange": made,
        }
    code = chance.choice(CODES) if chance.random() < 0.1 else ""
    route = f"route-{chance.randrange(ROUTES):02d}"
    result = {"allow": False, "status": 403, "reasons": [{"code": code}]} if code else {"allow": True, "masked": []}
    spelled = f"{chance.getrandbits(128):032x}"
    return WRITERS[number % 2], {
        "event": "decision.denied" if code else "decision.allowed",
        **ids,
        "decision_id": f"{spelled[:8]}-{spelled[8:12]}-4{spelled[13:16]}-a{spelled[17:20]}-{spelled[20:]}",
        "path": "extauthz/authz/decision",
        "requested_by": "10.1.2.3:44122",
        "revision": "policies-41+data-9",
        "subject": subject,
        "workload": workload,
        "action": "read",
        "resource": {"type": "transfer", "id": str(chance.randrange(10**6))},
        "request": {
            "id": f"{chance.getrandbits(128):032x}",
            "method": "POST",
            "host": "api.example.org",
            "route": route,
            "path": f"/v1/{route}/{{id}}",
            "transport": "envoy",
        },
        "layer": code.partition(".")[0],
        "code": code,
        "result": result,
        "engine": "embedded",
        "cached": {"token": True, "decision": True},
        "metrics": {"timer_parse_us": 7.1, "timer_policy_us": 42.0, "timer_check_us": 90.4},
        **({"exchange": made} if number % 3 == 0 else {}),
    }


def write(directory: Path, count: int, size: int, *, packed: bool, member: int = MEMBER) -> int:
    """Files as a server leaves them. Returns their bytes, unpacked."""
    chance = random.Random(7)  # noqa: S311 - records to search, not secrets
    chains = {name: Chain(name) for name in WRITERS}
    numbers = dict.fromkeys(WRITERS, 1)
    waiting = {name: bytearray() for name in WRITERS}
    written = 0

    def out(name: str, *, last: bool) -> None:
        path = path_of(directory, name, numbers[name])
        data = bytes(waiting[name])
        if packed and not last:
            parts = (data[at : at + member] for at in range(0, len(data), member))
            path.with_name(path.name + ".gz").write_bytes(b"".join(gzip.compress(part, 6) for part in parts))
        else:
            path.write_bytes(data)
        waiting[name].clear()
        numbers[name] += 1

    for number in range(count):
        name, told = record(number, chance)
        line = chains[name].sealed(orjson.dumps(told)[1:-1])
        waiting[name] += line
        written += len(line)
        if len(waiting[name]) >= size:
            out(name, last=False)
    for name in WRITERS:
        out(name, last=True)
    return written


def questions(count: int) -> Iterator[tuple[str, list[Query]]]:
    """Each kind of search, with another value each time."""
    chance = random.Random(11)  # noqa: S311 - as above

    def some(make: Any) -> list[Query]:
        return [make() for _ in range(SOUGHT)]

    def one(prefix: str, most: int, width: int) -> str:
        return f"{prefix}{chance.randrange(most):0{width}d}"

    def subject() -> str:
        return one("user-", SUBJECTS, 4)

    def workload() -> str:
        return one("spiffe://example.org/ns/prod/sa/service-", WORKLOADS, 2)

    def route() -> str:
        return one("route-", ROUTES, 2)

    def since() -> int:
        return round((START + chance.random() * count * 0.01) * 1000)

    yield "subject", some(lambda: Query(subject=(subject(),)))
    yield "subject, all of it", some(lambda: Query(subject=(subject(),), limit=None))
    yield "subject with *", some(lambda: Query(subject=(one("*", 100, 2),)))
    yield "workload", some(lambda: Query(workload=(workload(),)))
    yield "tenant", some(lambda: Query(tenant=(one("tenant-", TENANTS, 1),)))
    yield "route", some(lambda: Query(route=(route(),)))
    yield "layer", some(lambda: Query(layer=(chance.choice(CODES).partition(".")[0],)))
    yield "code", some(lambda: Query(code=(chance.choice(CODES),)))
    yield "event", some(lambda: Query(event=("token.exchanged",)))
    yield "event with *", some(lambda: Query(event=("decision.*",)))
    yield "event, nine of ten", some(lambda: Query(event=("decision.allowed",)))
    yield "time: an hour", some(lambda: Query(since=(at := since()), until=at + 3_600_000))
    yield "trace id", some(lambda: Query(trace_id=(f"{chance.getrandbits(128):032x}",)))
    yield "subject + code", some(lambda: Query(subject=(subject(),), code=("role.denied",)))
    yield "workload + route + layer", some(lambda: Query(workload=(workload(),), route=(route(),), layer=("role",)))
    yield (
        "tenant + route + an hour",
        some(lambda: Query(tenant=("tenant-3",), route=(route(),), since=(at := since()), until=at + 3_600_000)),
    )
    yield (
        "workload + event + code, none such",
        some(lambda: Query(workload=(workload(),), event=("token.exchanged",), code=("role.denied",))),
    )
    yield "tenant + subject of another, none such", some(lambda: Query(tenant=("tenant-3",), subject=("user-0004",)))
    yield "route + layer + tenant", some(lambda: Query(route=(route(),), layer=("token",), tenant=("tenant-7",)))
    yield "nothing: the newest", some(Query)


def milliseconds(ask: Any) -> tuple[float, int]:
    started = time.perf_counter()
    found = sum(1 for _ in ask())
    return (time.perf_counter() - started) * 1000, found


def search(archive: Archive, count: int) -> None:
    print("| search | p50 ms | max ms | found, most |\n| --- | ---: | ---: | ---: |")
    for name, asked in questions(count):
        took, found = zip(*(milliseconds(lambda one=one: archive.find(one)) for one in asked), strict=True)
        print(f"| {name} | {statistics.median(took):.1f} | {max(took):.1f} | {max(found)} |", flush=True)
    needle = Query(text="deadbeefdeadbeef", limit=1)
    print(f"| a text that is nowhere, every record read | {milliseconds(lambda: archive.find(needle))[0]:.0f} | | 0 |")
    hits = list(archive.find(Query(subject=("user-0007",), limit=200)))
    took = [milliseconds(lambda hit=hit: [hit.read()])[0] for hit in hits]
    print(f"| one record from its file | {statistics.median(took):.2f} | {max(took):.1f} | 1 |")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--records", type=int, default=1_000_000)
    words.add_argument("--file", type=int, default=64, help="MiB of a file")
    words.add_argument("--plain", action="store_true", help="do not pack rotated files")
    words.add_argument("--whole", action="store_true", help="pack a file as one gzip member")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="audit-search-") as name:
        directory = Path(name)
        largest = asked.file * 1024 * 1024
        member = 2 * largest if asked.whole else MEMBER
        size = write(directory, asked.records, largest, packed=not asked.plain, member=member)
        print(f"{asked.records} records, {size / 1e6:.0f} MB in {len(list(directory.iterdir()))} files")
        with Archive([directory]) as archive:
            started = time.perf_counter()
            archive.refresh()
            took = time.perf_counter() - started
            held = sum(file.stat().st_size for file in directory.glob("index.db*"))
            rate = asked.records / took
            print(f"indexed in {took:.1f} s: {rate:.0f} records/s, {size / took / 1e6:.0f} MB/s; {held / 1e6:.0f} MB")
            print(f"nothing new: {milliseconds(archive.refresh)[0]:.1f} ms")
            search(archive, asked.records)
    print(f"largest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
