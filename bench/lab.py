"""Everything that a run needs, started and, whatever happens, ended: certificates, tokens, servers, the front Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx

from bench import front, generator, servers
from bench.generator import BODY, Sample, Target
from bench.tokens import ISSUER, USERS, Probes, Tokens
from bench.variants import servers as servers_of
from extauthz.demo import processes
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.files import shared
from extauthz.demo.platform import envoy_path
from extauthz.demo.probes import http_ok, until_ready
from extauthz.demo.processes import Part
from extauthz.demo.zones import TRUST_DOMAIN
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.variants import Server, Variant

_READY: Final = 60.0
_FRONT_NAME: Final = "front.bench"
_FASTEST_FRESH: Final = 15_000
"""Tokens minted for each second of a measurement; one that runs out ends earlier, and is right all the same."""


class Lab:
    """Use it as a context manager; `say` is told each step in a few words."""

    def __init__(self, variants: Sequence[Variant], threads: int, say: Callable[[str], None]) -> None:
        self._variants = variants
        self._threads = threads
        self._say = say
        self._parts: dict[str, Part] = {}
        self._tokens = Tokens()
        self.probes: Probes = self._tokens.probes()
        self.folder: Path
        self.target: Target
        self.admin: front.Admin

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="xa-bench-")).resolve()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self.admin.close()
        processes.stop(self._parts.values())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self._say("building the load generator")
        self._program = generator.build()
        self._say("certificates and tokens")
        self._secrets()
        self._tokens.write(self.folder / "users.txt", USERS)
        for server in servers_of(self._variants):
            command = servers.write(server, self.folder, shared("policies"))
            self._parts[server.name] = Part(server.name, command, self.folder / f"{server.name}.log")
        config = front.write(self._variants, self.folder, shared("envoy") / "edge.yaml", ISSUER)
        command = [envoy_path(), "--config-path", str(config), "--disable-hot-restart", "--log-level", "warning"]
        command += ["--concurrency", str(self._threads)]
        self._parts["front"] = Part("front", command, self.folder / "front.log")
        self._say(f"{len(self._parts) - 1} authorization servers and the front Envoy")
        asyncio.run(self._up())
        self.admin = front.Admin(self.folder)
        ports = self.admin.ports()
        self.target = Target(
            ports["plain"], ports.get("mtls", 0), self.folder / "ca.pem", self.folder / "client.pem", _FRONT_NAME
        )

    def _secrets(self) -> None:
        ca = DevCa(TRUST_DOMAIN)
        (self.folder / "ca.pem").write_bytes(ca.trust_bundle)
        (self.folder / "jwks.json").write_bytes(self._tokens.jwks())
        ca.server(_FRONT_NAME).write(self.folder, "front")
        ca.svid(servers.CLIENT).write(self.folder, "client")

    async def _up(self) -> None:
        for name, part in self._parts.items():
            part.start()  # one after the other: two cores, many starts
            path = "http://local/ready" if name == "front" else "http://local/readyz"
            socket = self.folder / ("admin.sock" if name == "front" else f"{name}/http.sock")
            await until_ready(part, http_ok(path, socket), _READY)

    def fresh_tokens(self, seconds: float) -> None:
        """New tokens for one round; every server sees each of them at most once."""
        self._tokens.write(self.folder / "fresh.txt", int(seconds * _FASTEST_FRESH))

    def measure(self, variant: Variant, *, conns: int, rate: float, warmup: float, seconds: float) -> Sample:
        """One measurement, with the CPU use of each side."""
        tokens = self.folder / ("fresh.txt" if variant.fresh else "users.txt")
        line = generator.command(
            self._program, self.target, variant, tokens, conns=conns, rate=rate, warmup=warmup, seconds=seconds
        )
        names = ["front", *([variant.server.name] if variant.server else [])]
        before = {name: self._cpu(name) for name in names}
        sample, said = generator.run(line, warmup + seconds)
        span = warmup * (not said["exhausted"]) + said["seconds"]
        for name in names:
            key = "front" if name == "front" else "authorization"
            sample.cores[key] = (self._cpu(name) - before[name]) / span
        if variant.server is not None:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(servers.records(variant.server, self.folder), 0)
        return sample

    def pin(self, name: str, cores: set[int]) -> None:
        """Keep a part, and what it has started, on these cores; nothing where the system cannot (no /proc)."""
        pid = self._parts[name].pid
        for one in [pid, *processes.descendants([pid])] if pid else []:
            for thread in Path(f"/proc/{one}/task").glob("*"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)

    def _cpu(self, name: str) -> float:
        pid = self._parts[name].pid
        if not pid:
            raise ExtauthzError(f"{name} has ended\n{self._parts[name].last_words()}")
        return cpu_seconds([pid, *processes.descendants([pid])])

    def ask(self, variant: Variant, token: str) -> int:
        """The status of one request; an empty token sends no Authorization header."""
        headers = {"host": variant.host, "content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        context = ssl.create_default_context(cafile=str(self.target.ca))
        context.load_cert_chain(self.target.client, self.target.client.with_suffix(".key"))
        base = f"https://127.0.0.1:{self.target.mtls}" if variant.mtls else f"http://127.0.0.1:{self.target.plain}"
        name = {"sni_hostname": self.target.server_name}
        with httpx.Client(base_url=base, trust_env=False, verify=context) as client:
            return client.post(front.PATH, content=BODY, headers=headers, extensions=name).status_code

    def allowed_by(self, server: Server) -> int:
        return self.admin.asked(server)

    def traces(self) -> list[str]:
        """Parts whose log shows a Python traceback."""
        return [
            name
            for name, part in self._parts.items()
            if part.log.exists() and b"Traceback (most recent call last)" in part.log.read_bytes()
        ]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes so far; 0 where the system does not say (no /proc)."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
