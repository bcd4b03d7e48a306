"""What the rules ask of Envoy is what Envoy says: a real one, read through the listener that docs/telemetry.md shows."""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from extauthz.clock import SystemClock
from extauthz.demo.dev_ca import DevCa
from tests.support import parts, sds_envoy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.envoy
ROOT = Path(__file__).parents[2]
TLS = sds_envoy.TLS
EXT_AUTHZ = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"


def shown() -> list[dict[str, Any]]:
    """The listener and the cluster of the page."""
    block = re.search(
        r"```yaml\n(# static_resources\.listeners\n.*?)```", (ROOT / "docs/telemetry.md").read_text(), re.DOTALL
    )
    assert block is not None
    found: list[dict[str, Any]] = yaml.safe_load(block[1])
    return found


def asked() -> dict[str, set[str]]:
    """Envoy's series in the rules and their labels."""
    found: dict[str, set[str]] = {}
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            labels = set(re.findall(r"envoy_(?:listener_address|cluster_name)", rule["expr"]))
            for name in re.findall(r"(?<![:\w])envoy_\w+(?=[{\[])", rule["expr"]):
                found.setdefault(name, set()).update(labels)
    return found


def files(context: str, ca: Path, leaf: Path, key: Path, **more: Any) -> dict[str, Any]:
    common = {
        "tls_certificates": [{"certificate_chain": {"filename": str(leaf)}, "private_key": {"filename": str(key)}}],
        "validation_context": {"trusted_ca": {"filename": str(ca)}},
    }
    typed = {"@type": f"{TLS}.{context}", "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def resources(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    """In over mTLS, judged by a server that is not there, on to `next` over mTLS; and the page's way to the numbers."""
    ca, leaf, key = folder / "ca.pem", folder / "svid.pem", folder / "svid.key"
    transport = files("DownstreamTlsContext", ca, leaf, key, require_client_certificate=True)
    authz = {"@type": EXT_AUTHZ, "transport_api_version": "V3"}
    authz["grpc_service"] = {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": "1s"}
    listeners = []
    for name in ("in", "next"):
        answer = {"route": {"cluster": "next"}} if name == "in" else {"direct_response": {"status": 200}}
        one = sds_envoy._listener(ports[name], {"match": {"prefix": "/"}, **answer}, transport)
        one["name"] = name
        if name == "in":
            filters = one["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
            filters.insert(0, {"name": "ext_authz", "typed_config": {**authz, "failure_mode_allow": True}})
        listeners.append(one)
    following = {
        "name": "next",
        "connect_timeout": "2s",
        "load_assignment": sds_envoy.endpoint("next", _tcp(ports["next"])),
        "transport_socket": files("UpstreamTlsContext", ca, leaf, key),
    }
    judge = {**sds_envoy.agent("unused"), "name": "extauthz"}
    judge["load_assignment"] = sds_envoy.endpoint("extauthz", _tcp(ports["away"]))
    stats, admin = shown()
    stats["address"]["socket_address"]["port_value"] = ports["stats"]
    pipe = admin["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["pipe"]
    pipe["path"] = str(folder / "front.sock")
    return {"listeners": [*listeners, stats], "clusters": [following, judge, admin]}


def _tcp(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@pytest.fixture
def folder() -> Iterator[Path]:
    parts.require_envoy()
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


async def test_every_statistic_that_a_rule_reads_is_there(folder: Path) -> None:
    ca = DevCa("bank.example", SystemClock())
    (folder / "ca.pem").write_bytes(ca.trust_bundle)
    ca.svid("spiffe://bank.example/a", lifetime=3600).write(folder, "svid")
    ports = {name: sds_envoy.free_port() for name in ("in", "next", "away", "stats")}
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.check_hostname = False
    stranger = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    stranger.check_hostname = False
    context.load_cert_chain(folder / "svid.pem", folder / "svid.key")
    async with sds_envoy.running("front", folder, ports["in"], resources(folder, ports)):
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=10) as http:
            assert (await _get(http, f"https://127.0.0.1:{ports['in']}/")).status_code == 200
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            async with httpx.AsyncClient(verify=stranger, trust_env=False, timeout=10) as http:
                await http.get(f"https://127.0.0.1:{ports['in']}/")
        async with httpx.AsyncClient(
            trust_env=False, timeout=10, base_url=f"http://127.0.0.1:{ports['stats']}"
        ) as http:
            page = ""
            while not re.search(r'connect_ms_count\{envoy_cluster_name="next"\} [1-9]', page):  # merged every 5 s
                await asyncio.sleep(0.2)
                page = (await http.get("/stats/prometheus")).text
            for path in ("/quitquitquit", "/config_dump", "/stats/prometheus/../../certs", "/"):
                assert (await http.post(path)).status_code == 404
            assert (await http.post("/stats/prometheus")).status_code == 404
    samples = read(page)
    wanted = asked()
    assert len(wanted) >= 12
    for name, labels in wanted.items():
        there = [set(one) for one, _ in samples.get(name, ())]
        assert there, name
        own = {label for label in labels if label.startswith("_".join(name.split("_")[:2]))}
        assert any(own <= one for one in there), (name, labels, there[0])

    def value(name: str, **labels: str) -> float:
        return sum(number for one, number in samples[name] if labels.items() <= one.items())

    address = {"envoy_listener_address": f"127.0.0.1_{ports['in']}"}
    assert value("envoy_listener_ssl_handshake", **address) >= 1
    assert value("envoy_listener_ssl_fail_verify_no_cert", **address) == 1
    assert value("envoy_cluster_upstream_cx_connect_ms_count", envoy_cluster_name="next") >= 1
    assert value("envoy_http_ext_authz_error", envoy_http_conn_manager_prefix="in") == 1


def read(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Names as Envoy writes them: a parser that knows OpenMetrics puts `_total` behind a counter's."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for name, labels, number in re.findall(r"^(\w+)\{(.*)\} (\S+)$", page, re.MULTILINE):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(number)))
    return found


async def _get(http: httpx.AsyncClient, url: str) -> httpx.Response:
    for _ in range(400):
        try:
            return await http.get(url)
        except httpx.TransportError:
            await asyncio.sleep(0.05)
    raise AssertionError("Envoy does not listen")
