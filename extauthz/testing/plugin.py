"""The pytest plugin: one Check server for the session, as the fixture `extauthz`.

A project may define the fixtures `extauthz_config` and `extauthz_change` in its own conftest.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

# Every pytest run on a machine with this package loads this file: what costs time is imported when it is used.

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from extauthz.testing.folder import Change
    from extauthz.testing.server import CheckServer


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("extauthz", "tests on a real Check server")
    group.addoption("--extauthz-config", metavar="FILE", help="the project's extauthz.yaml (ini: extauthz_config)")
    group.addoption("--extauthz-engine", choices=("sidecar", "embedded"), help="in place of the file's policy.engine")
    group.addoption("--extauthz-address", metavar="ADDRESS", help="a server that runs: host:port or unix:///path")
    group.addoption("--extauthz-folder", metavar="DIR", help="what that server was prepared from: its keys and records")
    parser.addini(
        "extauthz_config", "the project's extauthz.yaml, relative to the root folder", default="extauthz.yaml"
    )


@pytest.fixture(scope="session")
def extauthz_config(pytestconfig: pytest.Config) -> Path:
    """The project's extauthz.yaml: `--extauthz-config`, else the ini value `extauthz_config`."""
    named: str | None = pytestconfig.getoption("extauthz_config")
    if named:
        return pytestconfig.invocation_params.dir / named
    usual: str = pytestconfig.getini("extauthz_config")
    return pytestconfig.rootpath / usual


@pytest.fixture(scope="session")
def extauthz_change() -> Change:
    """A function that changes the settings of the server under test, in place. This one changes nothing."""

    def unchanged(_settings: dict[str, Any]) -> None:
        pass

    return unchanged


@pytest.fixture(scope="session")
def extauthz(pytestconfig: pytest.Config, extauthz_config: Path, extauthz_change: Change) -> Iterator[CheckServer]:
    """A Check server with the project's routes and policy: started here, or the one at `--extauthz-address`."""
    from extauthz.errors import ExtauthzError  # noqa: PLC0415 - as above
    from extauthz.testing.server import connect, serving  # noqa: PLC0415 - the same

    address = pytestconfig.getoption("extauthz_address")
    folder = pytestconfig.getoption("extauthz_folder")
    if folder and not address:
        pytest.fail("--extauthz-folder belongs to the server at --extauthz-address: give both, or none", pytrace=False)
    if address:
        opened = connect(address, pytestconfig.invocation_params.dir / folder if folder else None)
    else:
        engine = pytestconfig.getoption("extauthz_engine") or ""
        opened = serving(extauthz_config, engine=engine, change=extauthz_change)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(opened)
        except ExtauthzError as error:  # the file and the line are in it, the traceback is ours
            pytest.fail(f"the Check server cannot be used\n{error}", pytrace=False)
        yield server
