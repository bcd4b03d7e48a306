"""The limit of a transport: a `Service` that answers every Check with the same OK, and reads none.

`python -m bench.null extauthz.yaml` serves it as `extauthz serve` serves the real one: same supervisor, same worker.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from extauthz.check.messages import CheckResponse
from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.shared import SharedParts
from extauthz.supervisor import Supervisor


class NullService:
    """Implements `transport.service.Service`."""

    def __init__(self) -> None:
        self._answer: bytes = CheckResponse(status={}, ok_response={}).SerializeToString()
        self._draining = False

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def check(self, message: bytes, budget: float) -> bytes:
        del message, budget
        return self._answer

    def drain(self) -> None:
        self._draining = True

    async def status(self) -> dict[str, Any]:
        return {"ready": not self._draining, "draining": self._draining}

    def metrics(self) -> bytes:
        return b""

    async def reload(self) -> list[str]:
        return []


def service(run_dir: Path, *, transport: str) -> NullService:
    """What a worker calls (`WorkerSpec.service`)."""
    del run_dir, transport
    return NullService()


def main(config: Path) -> int:
    logging.basicConfig(level=logging.WARNING)
    clock = SystemClock()
    supervisor = Supervisor(
        config=config,
        make_shared=lambda run_dir: SharedParts(config, run_dir, clock),
        service="bench.null:service",
        clock=clock,
    )
    try:
        asyncio.run(supervisor.run())
    except ExtauthzError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
