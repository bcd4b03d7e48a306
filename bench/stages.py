"""Where the CPU time of a Check goes: `python -m bench.stages [--checks N] [--rounds N] [--hosted] [--json]`.

A wall clock says nothing on a machine that others use, so everything here is CPU time (of the loop's thread for stages,
of the process for sums), the median of several rounds.

1. In process: a warm Check (100 users take turns; token and decision are known) and a cold one (each token new, every
   cache off, embedded OPA), stage by stage.
2. `asgi`: the same Checks through `transport.asgi` with a host that does nothing, beside a null handler.
3. `--hosted`: the same Checks by gRPC to a server that Envoy hosts, beside a null handler hosted the same way.

The instrument is the trail that every Check keeps anyway: here it is read with a clock of CPU time in place of its own,
and `Recorder.submit` adds up the marks. Nothing of it is in the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import grpc
import yaml

from bench import servers
from bench.generator import BODY
from bench.lab import cpu_seconds
from bench.null import NullService
from bench.tokens import USERS, Tokens
from bench.variants import Server
from extauthz.app import Application
from extauthz.check.messages import SERVICE, CheckRequest, CheckResponse
from extauthz.clock import SystemClock
from extauthz.demo import processes
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.files import shared
from extauthz.demo.probes import http_ok, until_ready
from extauthz.demo.processes import Part
from extauthz.demo.zones import TRUST_DOMAIN
from extauthz.errors import ExtauthzError
from extauthz.shared import SharedParts
from extauthz.supervisor import Supervisor
from extauthz.telemetry.recorder import Recorder
from extauthz.telemetry.trail import Stage, Trail
from extauthz.transport import frames
from extauthz.transport.asgi import CHECK, GrpcApp
from extauthz.transport.health import Health
from extauthz.transport.reflection import Reflection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.transport.service import Service

WARM: Final = Server("stages-warm", "envoy", engine="embedded")
COLD: Final = Server("stages-cold", "envoy", engine="embedded", caches=False)
NULL: Final = Server("stages-null", "envoy", null=True)
_BURST: Final = 32
"""Checks between two turns of the loop in process; the recorder works in between, as under load."""
_IN_FLIGHT: Final = 16
_READY: Final = 60.0
_BUDGET: Final = 0.9
_SUMS: Final = "EXTAUTHZ_BENCH_STAGES"
"""Names the file that a hosted worker writes its sums to."""


@dataclass(slots=True)
class Sums:
    """Nanoseconds by stage, of all trails that were handed over."""

    checks: int = 0
    ns: list[int] = field(default_factory=lambda: [0] * len(Stage))

    def microseconds(self) -> dict[str, float]:
        return {stage.name.lower(): self.ns[stage] / 1e3 / max(self.checks, 1) for stage in Stage if self.ns[stage]}


class Instrument:
    """Reads CPU time in place of the wall, and adds up what each Check marked. For good: a process has one."""

    def __init__(self) -> None:
        self.sums = Sums()
        Trail.__init__.__defaults__ = ("", _ticks())  # what Trail(started) is made with
        submit = Recorder.submit

        def added(recorder: Recorder, trail: Trail) -> None:
            self.sums.checks += 1
            for stage, ns in enumerate(trail.ns):
                self.sums.ns[stage] += ns
            submit(recorder, trail)

        setattr(Recorder, submit.__name__, added)


def _ticks() -> Any:
    """CPU nanoseconds of this thread, less what asking costs."""
    asked = 0
    started = time.thread_time_ns()
    for _ in range(10_000):
        time.thread_time_ns()
    cost = (time.thread_time_ns() - started) // 10_000

    def ticks() -> int:
        nonlocal asked
        asked += cost
        return time.thread_time_ns() - asked

    return ticks


def messages(tokens: Path) -> list[bytes]:
    """The front Envoy's CheckRequests for the demo's transfer, one for each token of the file."""
    return [_message(number, token) for number, token in enumerate(tokens.read_text().split())]


def _message(number: int, token: str) -> bytes:
    check = CheckRequest()
    attributes = check.attributes
    attributes.source.address.socket_address.address = "127.0.0.1"
    attributes.source.address.socket_address.port_value = 40000
    attributes.destination.address.socket_address.address = "127.0.0.1"
    attributes.destination.address.socket_address.port_value = 8443
    attributes.context_extensions["route"] = "create-transfer"
    http = attributes.request.http
    http.id, http.method, http.host, http.path = str(number), "POST", "warm-envoy.bench", "/v1/transfers"
    http.scheme, http.protocol, http.size = "http", "HTTP/1.1", len(BODY)
    http.raw_body = BODY.encode()
    for name, value in (
        (":authority", "warm-envoy.bench"),
        (":path", "/v1/transfers"),
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/json"),
        ("content-length", str(len(BODY))),
        ("authorization", f"Bearer {token}"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", f"6f6b6c1e-0c3f-4d8c-9f5e-{number:012}"),
        ("x-envoy-auth-partial-body", "false"),
    ):
        http.header_map.headers.add(key=name, raw_value=value.encode())
    return check.SerializeToString()  # type: ignore[no-any-return]  # upb bytes


class Bench:
    """Configuration, keys and messages in a folder of their own."""

    def __init__(self, folder: Path, checks: int) -> None:
        self.folder = folder
        self._tokens = Tokens()
        (folder / "ca.pem").write_bytes(DevCa(TRUST_DOMAIN).trust_bundle)
        (folder / "jwks.json").write_bytes(self._tokens.jwks())
        self.warm = self._messages(USERS)
        self._checks = checks

    def _messages(self, count: int) -> list[bytes]:
        path = self.folder / "tokens.txt"
        self._tokens.write(path, count)
        return messages(path)

    def fresh(self) -> list[bytes]:
        return self._messages(self._checks)

    def config(self, server: Server) -> Path:
        place = self.folder / server.name
        place.mkdir(exist_ok=True)
        file = place / "extauthz.yaml"
        file.write_text(yaml.safe_dump(servers.settings(server, self.folder, shared("policies")), sort_keys=False))
        return file

    @contextlib.asynccontextmanager
    async def application(self, server: Server) -> Any:
        """The real service of this server, in this process."""
        run = self.folder / server.name / "run"
        file = self.config(server)
        run.mkdir(mode=0o700)
        parts = SharedParts(file, run, SystemClock())
        await parts.start()
        try:
            service = Application(run, transport="in process")
            await service.start()
            try:
                yield service
            finally:
                await service.stop()
        finally:
            await parts.stop()


async def direct(service: Service, wanted: Sequence[bytes]) -> float:
    """CPU microseconds of the process a Check, its record included."""
    started = time.process_time_ns()
    for number, message in enumerate(wanted, 1):
        await service.check(message, _BUDGET)
        if not number % _BURST:
            await asyncio.sleep(0)
    return (time.process_time_ns() - started) / 1e3 / len(wanted)


async def through_asgi(app: GrpcApp, wanted: Sequence[bytes]) -> float:
    """The same through our ASGI application, a task each; the host's side costs next to nothing."""
    started = time.process_time_ns()
    for at in range(0, len(wanted), _IN_FLIGHT):
        await asyncio.gather(*(_request(app, message) for message in wanted[at : at + _IN_FLIGHT]))
    return (time.process_time_ns() - started) / 1e3 / len(wanted)


async def _request(app: GrpcApp, message: bytes) -> None:
    headers = [(b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"grpc-timeout", b"1000m")]
    scope = {"type": "http", "method": "POST", "path": CHECK, "headers": headers}
    body = {"type": "http.request", "body": frames.frame(message), "more_body": False}

    async def receive() -> dict[str, Any]:
        return body

    async def send(_: Any) -> None:
        return

    await app(scope, receive, send)


def asgi(service: Service) -> GrpcApp:
    reflection = Reflection((), (SERVICE,))
    return GrpcApp(service, Health((SERVICE,)), reflection, max_check=1 << 20, max_concurrent=1024)


async def in_process(bench: Bench, rounds: int, checks: int) -> dict[str, dict[str, float]]:
    """Rows by name; the stages of warm and cold, and sums for the null handler."""
    warm = (bench.warm * (checks // len(bench.warm) + 1))[:checks]
    found: dict[str, list[dict[str, float]]] = {}
    instrument = Instrument()
    null: Any = NullService()  # has no API, which no Check asks for
    async with bench.application(WARM) as service, bench.application(COLD) as cold:
        await expect_allowed(service, bench.warm)
        for _ in range(rounds):
            for name, judged in (("warm", warm), ("cold", bench.fresh())):
                instrument.sums = Sums()
                whole = await direct(service if name == "warm" else cold, judged)
                stages = instrument.sums.microseconds()
                rest = whole - sum(stages.values())
                found.setdefault(f"{name}, in process", []).append({**stages, "record and rest": rest, "all": whole})
            for name, served in (("null", null), ("warm", service)):
                found.setdefault(f"{name}, asgi", []).append({"all": await through_asgi(asgi(served), warm)})
    return _medians(found)


async def expect_allowed(service: Service, wanted: Sequence[bytes]) -> None:
    """Warms up. Raises ExtauthzError when a Check is not allowed: figures of denials would look too good."""
    for message in wanted:
        if CheckResponse.FromString(await service.check(message, 10.0)).status.code:
            raise ExtauthzError("a Check was denied that had to be allowed")


def _medians(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}


async def hosted(bench: Bench, rounds: int, checks: int) -> dict[str, dict[str, float]]:
    """Null and warm take turns, each in a server of its own; CPU of all of the server's processes."""
    sums = bench.folder / "sums.json"
    parts = {}
    for server in (NULL, WARM):
        command = [sys.executable, "-m", "bench.stages", "--serve", str(bench.config(server))]
        if server.null:
            command = [sys.executable, "-m", "bench.null", str(bench.config(server))]
        parts[server.name] = Part(server.name, command, bench.folder / f"{server.name}.log")
    (bench.folder / "warm.json").write_text(json.dumps([message.hex() for message in bench.warm]))
    os.environ[_SUMS] = str(sums)
    found: dict[str, list[dict[str, float]]] = {}
    try:
        for name, part in parts.items():
            part.start()
            await until_ready(part, http_ok("http://local/readyz", bench.folder / name / "http.sock"), _READY)
            await asyncio.to_thread(_load, bench.folder, name, 4 * USERS)
        for _ in range(rounds):
            for name, part in parts.items():
                before = _cpu(part)
                await asyncio.to_thread(_load, bench.folder, name, checks)
                found.setdefault(name, []).append({"all": (_cpu(part) - before) * 1e6 / checks})
    finally:
        processes.stop(parts.values())
    rows = _medians(found)
    return {
        "null, hosted": rows[NULL.name],
        "warm, hosted": {**json.loads(sums.read_text()), **rows[WARM.name]},
    }


def _cpu(part: Part) -> float:
    if not part.pid:
        raise ExtauthzError(f"{part.name} has ended\n{part.last_words()}")
    return cpu_seconds([part.pid, *processes.descendants([part.pid])])


def _load(folder: Path, name: str, checks: int) -> None:
    arguments = ["--load", str(folder / name / "check.sock"), str(folder / "warm.json"), str(checks)]
    subprocess.run([sys.executable, "-m", "bench.stages", *arguments], check=True)


async def load(socket: str, wanted: Sequence[bytes], checks: int) -> None:
    """Closed loop, `_IN_FLIGHT` at a time. Raises ExtauthzError for an answer that is not OK."""
    numbers = iter(range(checks))
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = channel.unary_unary(CHECK)

        async def one_after_another() -> None:
            for number in numbers:
                answer = await call(wanted[number % len(wanted)], timeout=10.0)
                if CheckResponse.FromString(answer).status.code:
                    raise ExtauthzError("a Check was denied that had to be allowed")

        await asyncio.gather(*(one_after_another() for _ in range(_IN_FLIGHT)))


class Instrumented(Application):
    """The real service, which leaves the sums of its stages when it ends."""

    def __init__(self, run_dir: Path, *, transport: str) -> None:
        self._instrument = Instrument()
        super().__init__(run_dir, transport=transport)

    async def stop(self) -> None:
        Path(os.environ[_SUMS]).write_text(json.dumps(self._instrument.sums.microseconds()))  # noqa: ASYNC240 - ends
        await super().stop()


def service(run_dir: Path, *, transport: str) -> Instrumented:
    """What a worker calls (`WorkerSpec.service`)."""
    return Instrumented(run_dir, transport=transport)


def serve(config: Path) -> None:
    clock = SystemClock()
    asyncio.run(
        Supervisor(
            config=config,
            make_shared=lambda run_dir: SharedParts(config, run_dir, clock),
            service="bench.stages:service",
            clock=clock,
        ).run()
    )


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown, CPU microseconds a Check."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = ["| CPU µs a Check | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, row in rows.items():
        cells = (f"{row[key]:.1f}" if key in row else "–" for key in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(checks: int, rounds: int, *, with_hosted: bool) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="xa-stages-") as folder:
        bench = Bench(Path(folder).resolve(), checks)
        found = asyncio.run(in_process(bench, rounds, checks))
        return found | (asyncio.run(hosted(bench, rounds, checks)) if with_hosted else {})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--checks", type=int, default=4000, help="Checks a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--hosted", action="store_true", help="also in servers that Envoy hosts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve(chosen.serve)
    elif chosen.load:
        socket, file, checks = chosen.load
        wanted = [bytes.fromhex(text) for text in json.loads(Path(file).read_text())]
        asyncio.run(load(socket, wanted, int(checks)))
    else:
        rows = run(chosen.checks, chosen.rounds, with_hosted=chosen.hosted)
        sys.stdout.write((json.dumps(rows) if chosen.json else table(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
