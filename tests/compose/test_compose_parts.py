"""What the containers start from, and the hands of the compose test."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.attestation.attestor import Attested
from extauthz.attestation.entries import Entries
from extauthz.clock import SystemClock
from extauthz.config import inspect
from extauthz.demo import compose_envoy, compose_files, compose_layout
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.platform import envoy_path
from extauthz.demo.zones import EDGE, MODEL, TRUST_DOMAIN, ZONES
from extauthz.errors import ExtauthzError, MissingPart
from extauthz.policy import loader
from extauthz.policy.native import find_tool
from tests.compose import engine
from tests.compose.platform import ComposePlatform, ContainerAdmin
from tests.compose.table import Table
from tests.support.parts import require_envoy, require_opa

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path):
    made = compose_layout.plan(tmp_path)
    compose_files.prepare(made)
    return made


class Later:
    """A clock that stands at a time of one's own."""

    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now

    def monotonic(self):
        return self._now


def test_files_are_for_their_owner_alone(layout):
    files = [path for path in layout.root.rglob("*") if path.is_file()]
    assert len(files) > 40
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_private_key_but_the_labs(layout):
    """Workloads make theirs themselves; the catalogue is none."""
    holders = {path for path in layout.root.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()}
    assert {path.parent.relative_to(layout.root).as_posix() for path in holders} == {"catalogue", "lab"}


def test_what_lives_is_kept_and_what_ends_is_made_anew(layout):
    ca, passphrase = layout.lab / "ca.pem", layout.root / "authority-key" / "passphrase"
    before, sealed = ca.read_bytes(), passphrase.read_bytes()
    made, cluster = compose_files.read_lab(layout.lab, SystemClock())
    assert compose_files.prepare(layout).jwks() == cluster.jwks()
    assert ca.read_bytes() == before
    compose_files.prepare(layout, Later(made.ca.ends - 3600))
    assert ca.read_bytes() != before
    assert passphrase.read_bytes() == sealed  # the authority's database goes on
    assert len(sealed) >= 32


def test_the_lab_can_be_read_again(layout):
    made, cluster = compose_files.read_lab(layout.lab, SystemClock())
    assert made.ca.trust_bundle == (layout.public / "lab.pem").read_bytes()
    assert made.mint.jwks() == json.loads((layout.public / "lab.jwks.json").read_text())
    assert cluster.jwks() == json.loads((layout.public / "cluster.jwks.json").read_text())
    digest = hashlib.sha256(made.api_key.encode()).hexdigest()
    assert digest in (layout.zone(EDGE).root / "extauthz" / "api-keys.yaml").read_text()
    assert made.svids.keys() == layout.zones.keys()


def test_each_agent_has_a_token_of_its_own_and_never_the_same_twice(layout):
    def tokens():
        return {zone.name: compose_layout.token_of(layout, zone).read_text() for zone in ZONES}

    before = tokens()
    compose_files.project(layout, compose_files.read_lab(layout.lab, SystemClock())[1])
    after = tokens()
    assert len({*before.values(), *after.values()}) == 2 * len(ZONES)
    claims = {name: jwt.decode(token, options={"verify_signature": False}) for name, token in after.items()}
    assert {name: one["sub"] for name, one in claims.items()} == {
        zone.name: f"system:serviceaccount:{zone.name}:{zone.service}" for zone in ZONES
    }


def test_the_authority_takes_its_configuration(layout):
    report = inspect(layout.authority_root / "extauthz.yaml")
    assert report.config is not None, report.problems
    settings = report.config.authority
    assert settings.keys.kind == "encrypted"
    assert [one.kind for one in settings.attestation.attestors] == ["kubernetes"]
    assert settings.publish == layout.trust
    assert settings.admin.startswith("unix:///tmp/")  # nobody else has that folder
    entries = Entries(settings.entries)
    for zone in ZONES:
        pod = Attested("cluster", frozenset({f"k8s:ns:{zone.name}", f"k8s:sa:{zone.service}"}), "0" * 64, 0.0)
        assert entries.match(pod).spiffe_id == zone.id


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_an_agent_takes_its_configuration(layout, zone):
    report = inspect(layout.zone(zone).root / "agent" / "extauthz.yaml")
    assert report.config is not None, report.problems
    agent = report.config.agent
    assert agent.attestation.token_file == compose_layout.token_of(layout, zone)
    assert agent.socket == f"unix://{layout.zone(zone).socket('agent')}"
    assert agent.trust_bundle == layout.trust


def test_the_policy_carries_its_revision(layout):
    bundle = (layout.root / "policy" / "policy.tar.gz").read_bytes()
    assert bundle == loader.load(ROOT / "policies").bundle()


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
@pytest.mark.parametrize("file", ["extauthz.yaml", "extauthz-2.yaml"])
def test_extauthz_takes_its_configuration(layout, zone, file):
    report = inspect(layout.zone(zone).root / "extauthz" / file)
    assert report.config is not None, report.problems
    assert report.config.policy.sidecar.supervise is False
    assert report.config.outbound.trust_bundle is not None


def test_two_servers_of_a_zone_share_no_socket(layout):
    one, two = (compose_files.extauthz_settings(layout, EDGE, number) for number in (1, 2))
    assert one["server"]["listen"] != two["server"]["listen"]
    assert one["policy"]["sidecar"]["address"] != two["policy"]["sidecar"]["address"]


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_envoy_keeps_what_must_stay(layout, zone):
    tree = compose_envoy.envoy_settings(layout, layout.zone(zone))
    text = yaml.safe_dump(tree)
    assert "failure_mode_allow: false" in text
    assert "${" not in text
    assert tree["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


@pytest.mark.envoy
@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_envoy_takes_its_configuration(layout, zone):
    require_envoy()
    file = layout.zone(zone).root / "envoy" / "envoy.yaml"
    command = [envoy_path(), "--mode", "validate", "--config-path", str(file), "--log-level", "error"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_scaling_names_both_servers(layout):
    def sockets():
        tree = yaml.safe_load((layout.zone(MODEL).root / "envoy" / "extauthz.yaml").read_text())
        points = tree["resources"][0]["endpoints"][0]["lb_endpoints"]
        return [Path(point["endpoint"]["address"]["pipe"]["path"]).name for point in points]

    assert sockets() == ["check.sock"]
    compose_envoy.scale(layout)
    assert sockets() == ["check.sock", "check-2.sock"]


def test_an_authority_goes_on():
    ca = DevCa(TRUST_DOMAIN)
    again = DevCa(TRUST_DOMAIN, kept=(ca.trust_bundle, ca.private_key))
    assert (again.trust_bundle, again.private_key, again.ends) == (ca.trust_bundle, ca.private_key, ca.ends)


def test_a_key_of_another_kind_is_refused():
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ExtauthzError, match="not an EC key"):
        DevCa(TRUST_DOMAIN, kept=(DevCa(TRUST_DOMAIN).trust_bundle, key))


def test_a_wrong_word_is_told():
    with pytest.raises(SystemExit) as ended:
        compose_files.main(["nonsense"])
    assert "folders | prepare | scale" in str(ended.value)


# the engine


def test_exports_are_read_as_a_shell_reads_them():
    lines = ["export DOCKER_HOST=unix:///a\\ b DOCKER_CONFIG='/c d'", "something else"]
    assert engine._exports(lines) == {"DOCKER_HOST": "unix:///a b", "DOCKER_CONFIG": "/c d"}


def test_no_engine_and_no_helper_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_works", lambda _: False)
    monkeypatch.setenv(engine.HELPER, str(tmp_path / "none"))
    with pytest.raises(MissingPart, match="container engine"):
        engine.find(lambda _: None)


def test_a_helper_that_fails_is_said(monkeypatch, tmp_path):
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\nexit 3\n")
    helper.chmod(0o755)
    monkeypatch.setattr(engine, "_works", lambda _: False)
    monkeypatch.setenv(engine.HELPER, str(helper))
    with pytest.raises(MissingPart, match="failed"):
        engine.find(lambda _: None)


async def test_a_command_that_fails_shows_what_it_said(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho said $1 >&2\nexit 7\n")
    docker.chmod(0o755)
    found = engine.Engine({"PATH": str(tmp_path)}, None)
    with pytest.raises(ExtauthzError, match="said info"):
        await found.must("info")


async def test_the_operator_gives_secrets_by_standard_input(tmp_path):
    """What an operator's verb is given is seen by nobody who lists processes."""
    docker, seen = tmp_path / "docker", tmp_path / "seen"
    docker.write_text(f'#!/bin/sh\n[ "$1" = exec ] && echo "$@ < $(cat)" >> {seen}\necho container\n')
    docker.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    platform = ComposePlatform(engine.Engine({"PATH": path}, None), lambda _: None)
    await ContainerAdmin(platform).revoke("token", "xat_secret")
    command, _, given = seen.read_text().strip().partition(" < ")
    assert command == "exec -i container extauthz authority revoke token - -c /platform/authority/extauthz.yaml"
    assert given == "xat_secret"
    await platform.close()


def test_a_row_is_what_was_expected_to_the_letter():
    said = []
    table = Table(said.append)
    table.add("one", "w", "none", "none")
    assert table.sound
    table.add("two", "w", "none", "some")
    assert not table.sound
    assert said[1].startswith("BAD")
    assert "expected: none" in said[1]


# scripts of the image


def _check(*what):
    script = ROOT / "deploy" / "healthcheck.py"
    return subprocess.run([sys.executable, "-IS", str(script), *what], capture_output=True, check=False, timeout=30)


def test_healthcheck(tmp_path):
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        assert _check(f"tcp:127.0.0.1:{port}").returncode == 1
        tcp.listen()
        assert _check(f"tcp:127.0.0.1:{port}").returncode == 0
        path = str(tmp_path / "s")
        assert _check(f"unix:{path}").returncode == 1
        unix.bind(path)
        unix.listen()
        assert _check(f"unix:{path}").returncode == 0
    gone = _check(f"http://127.0.0.1:{port}/readyz")
    assert gone.returncode == 1
    assert b"Traceback" not in gone.stderr


class _Well(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, *_):
        """Nothing is said."""


def test_healthcheck_over_https_believes_only_whom_it_is_told(tmp_path):
    ca = DevCa(TRUST_DOMAIN)
    ca.server("localhost").write(tmp_path, "server")
    (tmp_path / "trust.pem").write_bytes(ca.trust_bundle)
    (tmp_path / "other.pem").write_bytes(DevCa(TRUST_DOMAIN).trust_bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Well) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            url = f"https://localhost:{server.server_address[1]}"
            assert _check(f"{url}/readyz", str(tmp_path / "trust.pem")).returncode == 0
            assert _check(f"{url}/other", str(tmp_path / "trust.pem")).returncode == 1
            assert _check(f"{url}/readyz", str(tmp_path / "other.pem")).returncode == 1
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.opa
def test_the_bill_of_materials_names_go_modules():
    require_opa()
    script = ROOT / "deploy" / "sbom.py"
    command = [sys.executable, str(script), str(find_tool())]
    start = json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "x"}]})
    ran = subprocess.run(command, input=start, capture_output=True, text=True, check=True, timeout=30)
    names = {component["name"]: component.get("version") for component in json.loads(ran.stdout)["components"]}
    assert names["github.com/open-policy-agent/opa"] == "v1.22.2"
    assert "x" in names
    refused = subprocess.run([*command[:2], str(script)], input=start, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
