"""Inventories of configurations: the demo's, and small ones written here."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from extauthz import inventory
from extauthz.clock import ManualClock
from extauthz.demo import authority_files, config_files
from extauthz.demo.layout import plan
from tests.support.inventory import NOW, Demo

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.inventory import Inventory


@pytest.fixture(scope="session")
def demo():
    """The inventory of the demo's configurations, as its planner writes them."""
    with tempfile.TemporaryDirectory(prefix="i-", dir="/tmp") as folder:
        layout = replace(plan(Path(folder)), authority_port=8443, catalogue_port=8080)  # as on every run
        clock = ManualClock(epoch=NOW)
        made = config_files.issue(clock)
        config_files.write(layout, made)
        settings = authority_files.authority_settings(layout)
        config_files.write_yaml(layout.authority_root / "extauthz.yaml", settings)
        files = sorted([*Path(folder).glob("*/extauthz.yaml"), *Path(folder).glob("*/agent.yaml")])
        sources = inventory.read(files, clock)
        yield Demo(files, sources, inventory.build(sources, clock))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Inventory]:
    """Inventory of settings by file name."""

    def make(**files: dict[str, Any]) -> Inventory:
        paths = []
        for name, settings in files.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
            paths.append(path)
        clock = ManualClock(epoch=NOW)
        return inventory.build(inventory.read(paths, clock), clock)

    return make
