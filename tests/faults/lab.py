"""One small platform: a real Envoy in front of one or more real `extauthz serve`, real OPA, Redis where a row needs it;
issuer, attribute source and upstream are services of this process, because they are what is made to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.front import Admin
from extauthz.demo import processes
from extauthz.demo.platform import envoy_path
from extauthz.demo.probes import answers, http_ok, until_ready
from extauthz.demo.processes import Part
from extauthz.policy.native import find_tool
from tests.faults import front, people, setup
from tests.faults.load import RATE, Load
from tests.faults.web import Proxy, Service
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.oracle import Kind

_READY: Final = 60.0
Tree = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """`opa`: `supervised` by the server, or `own`: ours, behind a proxy. `adjust` rewrites a server's settings."""

    routes: tuple[str, ...] = ("pay", "read")
    replicas: int = 1
    opa: str = "supervised"
    redis: bool = False
    adjust: Callable[[Lab, Tree], None] = lambda _lab, _tree: None
    services: tuple[Service, ...] = ()
    """Further services of the row's own; up before the servers start."""
    rate: float = RATE
    wrap: tuple[str, ...] = ()
    """What stands before the server's command line."""


@dataclass
class Server:
    """One `extauthz serve`."""

    place: Path
    part: Part
    config: Tree = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.place / "extauthz.yaml"

    def write(self) -> None:
        # By way of JSON: the configuration takes no YAML aliases.
        self.file.write_text(yaml.safe_dump(json.loads(json.dumps(self.config)), sort_keys=False))

    async def start(self) -> None:
        self.part.start()
        await until_ready(self.part, http_ok("http://local/readyz", self.place / "http.sock"), _READY)

    def opa(self) -> list[int]:
        """The OPA that it supervises."""
        return processes.named([self.part.pid], "opa") if self.part.pid else []

    def workers(self) -> list[int]:
        """Its worker processes: children of its parent process that are not OPA."""
        found = processes.descendants([self.part.pid]) if self.part.pid else []
        return [pid for pid in found if pid not in self.opa()]

    def log(self) -> str:
        return self.part.log.read_text(errors="replace") if self.part.log.exists() else ""

    async def get(self, path: str) -> httpx.Response | None:
        """None: it does not answer."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.place / "http.sock"))
        async with httpx.AsyncClient(transport=transport, timeout=3.0, trust_env=False) as client:
            try:
                return await client.get(f"http://local{path}")
            except httpx.HTTPError:
                return None

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the series with these labels; 0 when there is none."""
        page = await self.get("/metrics")
        total = 0.0
        for family in text_string_to_metric_families(page.text if page is not None and page.is_success else ""):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total


class Lab:
    """Use it as an async context manager."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.people = people.People()
        self.issuer = Service(self.people.issuer)
        self.accounts = Service(people.accounts)
        self.upstream = Service(people.upstream)
        self._services = (self.issuer, self.accounts, self.upstream, *plan.services)
        self.servers: list[Server] = []
        self.redis: RedisServer | None = None
        self.proxies: dict[str, Proxy] = {}
        self.opa_part: Part | None = None
        self._parts: list[Part] = []
        self._port = 0

    @property
    def server(self) -> Server:
        return self.servers[0]

    async def __aenter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="xf-")).resolve()
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self.admin.close()
        await asyncio.to_thread(processes.stop, self._parts)
        for proxy in self.proxies.values():
            await proxy.close()
        for service in self._services:
            service.down()
        if self.redis is not None:
            self.redis.resume()
            self.redis.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _start(self) -> None:
        for service in self._services:
            await service.up()
        (self.folder / "client-secret").write_text(secrets.token_hex(16))
        setup.write_policy(self.folder)
        if self.plan.opa == "own":
            await self._own_opa()
        if self.plan.redis:
            self.redis = RedisServer()
            await self.redis.start()
            await self.proxy("redis", self.redis.socket)
        for number in range(self.plan.replicas):
            self.servers.append(self._server(number))
        self._envoy = self._front()
        await asyncio.gather(*(server.start() for server in self.servers))
        self._envoy.start()
        await until_ready(self._envoy, http_ok("http://local/ready", self.folder / "admin.sock"), _READY)
        self.admin = Admin(self.folder)
        self._port = (await asyncio.to_thread(self.admin.ports))["plain"]

    def _server(self, number: int) -> Server:
        place = self.folder / f"s{number}"
        place.mkdir()
        routes = {name: route for name, route in setup.routes().items() if name in self.plan.routes}
        config = setup.settings(place, routes, self.issuer.url, self.accounts.url)
        if self.plan.opa == "own":
            address = f"unix://{self.proxies['opa'].listen}"
            config["policy"]["sidecar"] |= {"address": address, "supervise": False, "watch": "1s"}
        self.plan.adjust(self, config)
        command = [*self.plan.wrap, sys.executable, "-m", "extauthz", "serve", str(place / "extauthz.yaml")]
        server = Server(place, self.part(f"s{number}", command), config)
        server.write()
        return server

    def _front(self) -> Part:
        checks = [server.place / "check.sock" for server in self.servers]
        config = front.write(self.folder, self.plan.routes, checks, self.upstream.port)
        command = [envoy_path(), "--config-path", str(config), "--disable-hot-restart", "--log-level", "warning"]
        return self.part("front", [*command, "--concurrency", "1"])

    async def _own_opa(self) -> None:
        socket = self.folder / "opa.sock"
        manifest = json.dumps({"revision": setup.REVISION, "roots": ["faults"]})
        (self.folder / "policy" / ".manifest").write_text(manifest)
        command = [str(find_tool()), "run", "--server", "--addr", f"unix://{socket}", "--log-level", "error"]
        self.opa_part = self.part("opa", [*command, "--skip-version-check", "--bundle", str(self.folder / "policy")])
        self.opa_part.start()
        await until_ready(self.opa_part, answers(socket), _READY)
        await self.proxy("opa", socket)

    async def proxy(self, name: str, target: Path) -> Proxy:
        made = self.proxies[name] = Proxy(self.folder / f"{name}-proxy.sock", target)
        await made.up()
        return made

    def part(self, name: str, command: Sequence[str]) -> Part:
        """A process that ends with the platform."""
        scratch = self.folder / f"{name}.tmp"
        scratch.mkdir(exist_ok=True)
        made = Part(name, command, self.folder / f"{name}.log", scratch)
        self._parts.append(made)
        return made

    def load(self, kinds: Iterable[Kind] | None = None, rate: float = 0.0, *, in_turn: bool = False) -> Load:
        chosen = self.people.kinds(*self.plan.routes) if kinds is None else list(kinds)
        return Load(self._port, chosen, rate or self.plan.rate, in_turn=in_turn)

    def tracebacks(self) -> list[str]:
        """Parts whose log shows a Python traceback."""
        return [server.part.name for server in self.servers if "Traceback (most recent call last)" in server.log()]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    processes.send(pids, number)


def rss(pids: Iterable[int]) -> int:
    """Resident bytes of these processes together."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def now() -> float:
    return time.monotonic()
