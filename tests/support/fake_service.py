"""A service whose answers are easy to predict, and the shared parts to match: for transports and the supervisor.

What a Check does is said by the id of its HTTP request: `echo` answers the budget, `slow:SECONDS` waits, `crash` ends
the process, anything else is allowed at once. The answer's status message tells what happened.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from extauthz.check.messages import CheckRequest, CheckResponse
from extauthz.config import Config, load
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from pathlib import Path


FACTORY = "tests.support.fake_service:FakeService"
REFUSE = "refuse-reload"
EVENTS = "events"


class FakeService:
    def __init__(self, run_dir: Path, *, transport: str = "") -> None:
        self._events = run_dir / EVENTS
        self._run_dir = run_dir
        self._transport = transport
        self._draining = False
        self._checks = 0
        self._reloads = 0

    def _note(self, event: str) -> None:
        with self._events.open("a") as file:
            file.write(f"{event}\n")

    async def start(self) -> None:
        if os.environ.get("FAKE_SERVICE_FAILS"):
            raise ConfigError((ConfigProblem("fake.yaml", 3, "key", "is wrong", "correct it"),))
        self._note(f"start {os.getpid()}")

    async def stop(self) -> None:
        self._note("stop")

    async def check(self, message: bytes, budget: float) -> bytes:
        self._checks += 1
        wish = CheckRequest.FromString(message).attributes.request.http.id
        if wish == "echo":
            return answer(f"{budget:.3f}")
        if wish == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if wish.startswith("slow:"):
            try:
                await asyncio.sleep(float(wish[5:]))
            except asyncio.CancelledError:
                self._note("cancelled")
                raise
            return answer("slept")
        return answer("null")

    def drain(self) -> None:
        self._draining = True
        self._note("drain")

    async def status(self) -> dict[str, Any]:
        return {"ready": not self._draining, "draining": self._draining, "transport": self._transport}

    def metrics(self, *, openmetrics: bool = False) -> bytes:
        del openmetrics
        return (
            "# HELP fake_checks_total Checks.\n# TYPE fake_checks_total counter\n"
            f'fake_checks_total{{route="a"}} {self._checks}\n'
            f"# HELP fake_reloads Reloads.\n# TYPE fake_reloads gauge\nfake_reloads {self._reloads}\n"
        ).encode()

    async def reload(self) -> list[str]:
        if (self._run_dir / REFUSE).exists():
            return ["fake.yaml:1: refused"]
        self._reloads += 1
        self._note("reload")
        return []


class FakeShared:
    """Notes what the supervisor does; its notes lie beside the configuration."""

    revision = "r1"
    policy_bundle = None

    def __init__(self, config_file: Path, run_dir: Path) -> None:
        self._file = config_file
        self._run_dir = run_dir
        self.config = Config()

    def _note(self, event: str) -> None:
        with self._file.with_name("shared").open("a") as file:
            file.write(f"{event}\n")

    async def start(self) -> Config:
        self.config = load(self._file)
        self._note(f"start {self._run_dir}")
        return self.config

    async def prepare(self) -> Config:
        self._note("prepare")
        return load(self._file)

    async def commit(self) -> None:
        self.config = load(self._file)
        self._note("commit")

    async def abandon(self) -> None:
        self._note("abandon")

    async def follow(self, reload: object) -> None:
        """Nothing changes by itself."""

    async def stop(self) -> None:
        self._note("stop")


def answer(text: str) -> bytes:
    return CheckResponse(status={"message": text}, ok_response={}).SerializeToString()


def question(wish: str = "", body: bytes = b"") -> bytes:
    """A CheckRequest that makes a FakeService do `wish`."""
    request = CheckRequest()
    request.attributes.request.http.id = wish
    request.attributes.request.http.method = "GET"
    if body:
        request.attributes.request.http.raw_body = body
    return request.SerializeToString()


def told(message: bytes) -> str:
    """What the service said it did."""
    return CheckResponse.FromString(message).status.message


def events(run_dir: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return (run_dir / EVENTS).read_text().splitlines()
    return []
