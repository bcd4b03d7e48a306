"""examples/payments-service with the published package and docs/integration-testing.md, and nothing else.

How the package gets there without a network, and why our sources do not: tests/support/installed.py.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
import zipfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from extauthz.demo.processes import Part, stop
from extauthz.policy.native import find_tool
from extauthz.testing import connect
from tests.support.installed import ROOT, Environment, build_wheel, environment
from tests.support.leftovers import processes_of
from tests.support.pages import Block, blocks
from tests.support.parts import require_envoy, require_opa

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.opa]

SAMPLE = ROOT / "examples" / "payments-service"
PAGE = blocks(ROOT / "docs" / "integration-testing.md")
TENANT_RULE = "input.resource.properties.tenant == input.subject.properties.tenant"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INSTALL = "python3 -m venv .venv\n. .venv/bin/activate\npip install extauthz pytest\n"
"""What `installed.environment` stands for."""


def _blocks(kind: str) -> list[Block]:
    return [block for block in PAGE if block.kind == kind]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Environment:
    require_opa()
    return environment(tmp_path_factory.mktemp("project") / ".venv", wheel)


@pytest.fixture
def project(tmp_path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".extauthz", ".venv", ".pytest_cache")
    return Path(shutil.copytree(SAMPLE, tmp_path / "payments-service", ignore=ignored))


@pytest.fixture
def folder():
    """The temporary folder of what the project's tests start: short enough for sockets, and empty in the end."""
    with tempfile.TemporaryDirectory(prefix="x-", dir="/tmp") as made:
        yield Path(made)


def _break(project: Path, rule: str) -> None:
    policy = project / "policies" / "payments" / "payments.rego"
    before = policy.read_text()
    assert before.count(TENANT_RULE) == 1
    policy.write_text(before.replace(TENANT_RULE, rule))


def _files(folder: Path) -> set[str]:
    """Files below, but for caches of tools."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not {"__pycache__", ".mypy_cache", "build"} & set(path.parts)}


@pytest.mark.parametrize("name", ["policies", "envoy", "native"])
def test_the_wheel_has_what_stands_beside_the_code(wheel, name):
    prefix = f"extauthz/_share/{name}/"
    packed = {entry.removeprefix(prefix) for entry in zipfile.ZipFile(wheel).namelist() if entry.startswith(prefix)}
    assert packed >= _files(ROOT / name)
    assert not any("__pycache__" in entry or entry.endswith(".key") for entry in packed)


def test_the_installed_package_finds_its_own_files_and_the_built_tool(installed, tmp_path):
    script = """python -c '
import extauthz
from extauthz.demo.files import shared
from extauthz.policy.native import find_tool
print(extauthz.__file__, shared("policies"), shared("envoy"), find_tool(), sep="\\n")'"""
    ran = installed.shell(script, tmp_path)
    assert ran.returncode == 0, ran.stdout
    *ours, tool = ran.stdout.split()
    assert all(Path(path).is_relative_to(installed.root) for path in ours)
    assert tool == str(find_tool())
    assert installed.shell("python -m extauthz.testing opa", tmp_path).stdout.strip() == tool


def test_the_page_installs_what_this_test_installs():
    assert [block.text for block in _blocks("install")] == [INSTALL]


def test_the_page_shows_the_sample_as_it_is():
    shown = _blocks("part")
    assert {block.what for block in shown} == {"pyproject.toml", "tests/conftest.py", "tests/test_payments.py"}
    for block in shown:
        assert block.text in (SAMPLE / block.what).read_text()


def test_the_page_s_commands_work(installed, project, folder):
    commands = "\n".join(block.text for block in _blocks("run"))
    assert "\npytest\n" in commands
    ran = installed.shell(commands, project, TMPDIR=str(folder))
    assert ran.returncode == 0, ran.stdout
    assert "PASS: 7/7" in ran.stdout
    assert "6 passed, 2 skipped" in ran.stdout
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_a_policy_that_denies_too_much_fails_as_the_page_shows(installed, project, folder):
    _break(project, "input.resource.properties.tenant == input.subject.id")
    ran = installed.shell("pytest -k clerk", project, TMPDIR=str(folder))
    assert ran.returncode == 1, ran.stdout
    said = "\n".join(line[8:] for line in ran.stdout.splitlines() if line.startswith("E  "))
    (shown,) = _blocks("failure")
    assert UUID.sub("ID", said).splitlines() == UUID.sub("ID", shown.text).splitlines()
    for part in ("layer   attribute", "code    attribute.tenant_mismatch", "detail  subject acme, resource acme"):
        assert part in said
    rego = installed.shell('"$(python -m extauthz.testing opa)" test --bundle policies', project)
    assert rego.returncode != 0
    assert processes_of(folder) == []


def test_a_policy_that_allows_too_much_fails_readably(installed, project, folder):
    _break(project, "input.resource.properties.tenant")
    ran = installed.shell("pytest", project, TMPDIR=str(folder))
    assert ran.returncode == 1, ran.stdout
    assert "1 failed, 5 passed, 2 skipped" in ran.stdout
    for part in (
        "expected denied at layer attribute with code attribute.tenant_mismatch",
        "but was  allowed",
        'body    {"tenant":"globex","amount":250}',
        "header  x-extauthz-subject: alice",
        "policy  payments/decision",
    ):
        assert part in ran.stdout
    assert processes_of(folder) == []


def _ports(count: int) -> list[int]:
    """Free ports of the loopback, held until all are chosen, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _until(condition, part: Part | None = None, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert part is None or part.running, part.last_words()
        assert time.monotonic() < deadline, part.last_words() if part else "it did not come"
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _composed(installed: Environment, project: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """The three services of docker-compose.yml as processes. The ports of extauthz and of Envoy."""
    check, http, service, edge = _ports(4)
    text = (project / "envoy.yaml").read_text()
    for old, new in (
        ("address: extauthz, port_value: 9191", f"address: 127.0.0.1, port_value: {check}"),
        ("address: payments, port_value: 8000", f"address: 127.0.0.1, port_value: {service}"),
        ("address: 0.0.0.0, port_value: 8080", f"address: 127.0.0.1, port_value: {edge}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert text.count("/etc/envoy/tls/") == 3
    text = text.replace("/etc/envoy/tls/", f"{project}/.extauthz/envoy/")
    (folder / "envoy.yaml").write_text(text)
    (folder / "t").mkdir()
    served = project / ".extauthz" / "server" / "extauthz.yaml"
    where = ["--listen", f"127.0.0.1:{check}", "--http", f"127.0.0.1:{http}"]
    serve = [str(installed.root / "bin" / "extauthz"), "serve", str(served), *where]
    envoy = [str(require_envoy()), "--disable-hot-restart", "-c", str(folder / "envoy.yaml"), "--log-level", "warning"]
    payments = [str(installed.python), "-B", str(project / "payments_service" / "__main__.py"), str(service)]
    # `Part` puts our sources on the path of what it starts; `env -u` takes them off again.
    plain = ["env", "-u", "PYTHONPATH"]
    commands = {"extauthz": [*plain, *serve], "payments": payments, "envoy": envoy}
    parts = [Part(name, command, folder / f"{name}.log", folder / "t") for name, command in commands.items()]
    try:
        for part, port in zip(parts, (http, service, edge), strict=True):
            part.start()
            _until(lambda port=port: _listens(port), part)
        yield check, edge
    finally:
        stop(parts)


@pytest.mark.envoy
def test_the_page_s_composed_platform_works_without_containers(installed, project, folder):
    (block,) = _blocks("compose")
    prepare, up, ask, down = block.text.splitlines()
    assert up.startswith("docker compose up ")
    assert down == "docker compose down"
    ran = installed.shell(prepare, project)
    assert ran.returncode == 0, ran.stdout
    with _composed(installed, project, folder) as (check, edge):
        ask = ask.replace("127.0.0.1:9191", f"127.0.0.1:{check}").replace("127.0.0.1:8080", f"127.0.0.1:{edge}")
        assert str(check) in ask
        assert str(edge) in ask
        ran = installed.shell(ask, project, TMPDIR=str(folder / "t"))
        assert ran.returncode == 0, ran.stdout
        assert "8 passed" in ran.stdout
        assert "skipped" not in ran.stdout
        roles = project / "policies" / "payments" / "roles" / "data.yaml"
        roles.write_text(roles.read_text().replace("limit: 1000\n", "limit: 2000\n"))
        ran = installed.shell(prepare, project)
        assert ran.returncode == 0, ran.stdout
        with connect(f"127.0.0.1:{check}", project / ".extauthz") as extauthz:
            claims = {"roles": ["clerk"], "tenant": "acme", "scope": "payments.write"}
            token = extauthz.token("alice", audience="https://payments.bank.example", **claims)
            payment = {"tenant": "acme", "amount": 1500}
            _until(lambda: extauthz.check("POST", "/v1/payments", token=token, json=payment).allowed)
    assert processes_of(folder) == []


def test_the_compose_file_is_hardened_and_says_what_the_page_says():
    composed = yaml.safe_load((SAMPLE / "docker-compose.yml").read_text())
    services = composed["services"]
    assert set(services) == {"extauthz", "envoy", "payments"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert not service["user"].startswith("0")
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert services["payments"]["networks"] == ["service"]
    assert [name for name, one in services.items() if "service" in one["networks"]] == ["payments", "envoy"]
    assert composed["networks"]["service"]["internal"] is True
    assert "./.extauthz/envoy:/etc/envoy/tls:ro" in services["envoy"]["volumes"]
    assert services["extauthz"]["volumes"] == ["./.extauthz/server:/etc/extauthz"]
