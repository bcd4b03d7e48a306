"""The front Envoy's configuration: Envoy takes it, each variant has its own chain, and what is asked is what is shipped."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from bench import front
from bench.servers import settings
from bench.tokens import ISSUER, Tokens
from bench.variants import BY_NAME, VARIANTS, select, servers
from extauthz.config import load_text
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.files import shared
from tests.support.parts import require_envoy


def _config(folder, variants=VARIANTS):
    return front.config(variants, folder, shared("envoy") / "edge.yaml", ISSUER)


def _manager(config, listener=0):
    chain = config["static_resources"]["listeners"][listener]["filter_chains"][0]
    return chain["filters"][0]["typed_config"]


def test_a_variant_switches_on_its_own_filters_and_no_other(tmp_path) -> None:
    manager = _manager(_config(tmp_path))
    assert all(one.get("disabled") for one in manager["http_filters"][:-1])
    hosts = {
        host["name"]: host["routes"][0]["typed_per_filter_config"] for host in manager["route_config"]["virtual_hosts"]
    }
    assert hosts["no-authz"] == {}
    assert set(hosts["native-cached"]) == {"jwt-cached", "rbac"}
    assert set(hosts["native-verify"]) == {"jwt-verify", "rbac"}
    for variant in VARIANTS:
        if variant.server is not None:
            assert set(hosts[variant.name]) == {variant.server.name}


def test_the_filter_is_the_one_that_is_shipped_and_fails_closed(tmp_path) -> None:
    edge = yaml.safe_load((shared("envoy") / "edge.yaml").read_text())
    shipped = edge["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"][
        "http_filters"
    ][0]
    for one in _manager(_config(tmp_path))["http_filters"]:
        if one["name"] in {server.name for server in servers(VARIANTS)}:
            ours = dict(one["typed_config"])
            assert ours["failure_mode_allow"] is False
            assert ours.pop("stat_prefix") == ours.pop("grpc_service")["envoy_grpc"]["cluster_name"] == one["name"]
            assert ours == {
                k: v for k, v in shipped["typed_config"].items() if k not in {"stat_prefix", "grpc_service"}
            }


def test_without_an_mtls_variant_there_is_one_listener(tmp_path) -> None:
    assert len(_config(tmp_path, select(["no-authz", "warm-envoy"]))["static_resources"]["listeners"]) == 1
    with pytest.raises(KeyError):
        select(["warm-envoy", "nonsense"])


@pytest.mark.envoy
def test_envoy_accepts_it(tmp_path) -> None:
    envoy = require_envoy()
    ca = DevCa("bank.example")
    (tmp_path / "ca.pem").write_bytes(ca.trust_bundle)
    (tmp_path / "jwks.json").write_bytes(Tokens().jwks())
    ca.server("front.bench").write(tmp_path, "front")
    file = front.write(VARIANTS, tmp_path, shared("envoy") / "edge.yaml", ISSUER)
    done = subprocess.run(
        [str(envoy), "--mode", "validate", "--config-path", str(file)], capture_output=True, text=True, check=False
    )
    assert "OK" in done.stdout, done.stderr


@pytest.mark.parametrize("server", servers(VARIANTS), ids=lambda server: server.name)
def test_every_server_has_a_valid_configuration(tmp_path, server) -> None:
    for name in ("jwks.json", "ca.pem"):
        (tmp_path / name).write_bytes(Tokens().jwks() if name == "jwks.json" else DevCa("bank.example").trust_bundle)
    (tmp_path / server.name).mkdir()
    text = yaml.safe_dump(json.loads(json.dumps(settings(server, tmp_path, shared("policies")))))
    config = load_text(text, "extauthz.yaml")
    assert config.server.transport == server.transport
    if not server.null:
        assert config.policy.engine == server.engine
        assert config.policy.cache.enabled is server.caches
        route = config.route("create-transfer")
        assert route is not None
        assert "money" in route.effects


def test_every_transport_and_cache_of_the_issue_is_compared() -> None:
    assert {"no-authz", "native-cached", "native-verify", "warm-envoy", "warm-grpcio", "fresh-envoy"} <= BY_NAME.keys()
    assert {"uncached-sidecar", "uncached-embedded", "null-envoy", "null-grpcio"} <= BY_NAME.keys()
    assert all(variant.fresh for variant in VARIANTS if variant.server and not variant.server.caches)
