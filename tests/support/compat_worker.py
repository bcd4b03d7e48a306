"""A worker in this process under `policy.compat: opa-envoy-plugin`, on real OPA and the table's policy."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import yaml

from extauthz.app import Application
from extauthz.clock import ManualClock, SystemClock
from extauthz.shared import SharedParts
from tests.support import compat_cases
from tests.support.certs import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


def settings(engine: str, plugin: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "policy": {
            "engine": engine,
            "path": str(compat_cases.POLICY),
            "compat": "opa-envoy-plugin",
            "opa_envoy_plugin": {"path": compat_cases.ENTRYPOINT, **plugin},
        },
        "telemetry": {"records": {"output": "./records.jsonl", "interval": "1ms"}},
        **changes,
    }


@contextlib.asynccontextmanager
async def open_worker(
    folder: Path, engine: str, plugin: Mapping[str, Any], *, real_time: bool = True, **changes: Any
) -> AsyncIterator[Application]:
    """Records go to `records.jsonl` in `folder`."""
    (folder / "bank.desc").write_bytes(compat_cases.descriptor_set())
    (folder / "extauthz.yaml").write_text(yaml.safe_dump(settings(engine, plugin, **changes)))
    run_dir = folder / "run"
    run_dir.mkdir(mode=0o700)
    clock = SystemClock() if real_time else ManualClock(EPOCH)
    shared = SharedParts(folder / "extauthz.yaml", run_dir, clock)
    await shared.start()
    app = Application(run_dir, transport="test", clock=clock)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()
        await shared.stop()


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
