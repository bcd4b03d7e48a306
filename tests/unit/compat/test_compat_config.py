"""`policy.compat` in extauthz.yaml: the plugin's keys, what they change, and what is refused."""

import pytest
import yaml
from typer.testing import CliRunner

from extauthz.cli.config import app
from extauthz.config import load_text
from extauthz.config.from_plugin import convert
from extauthz.errors import ConfigError


def text(*, server=None, routes=(), policy=None, **plugin):
    block = {"path": "policy", "compat": "opa-envoy-plugin", **(policy or {})}
    if plugin:
        block["opa_envoy_plugin"] = {name.replace("_", "-"): value for name, value in plugin.items()}
    document = {"policy": block, "routes": list(routes)}
    if server is not None:
        document["server"] = server
    return yaml.safe_dump(document)


def loaded(**settings):
    return load_text(text(**settings))


def problems(source):
    with pytest.raises(ConfigError) as caught:
        load_text(source)
    return str(caught.value)


ROUTE = {
    "name": "pay",
    "match": {"path": "/pay"},
    "public": True,
    "credential": "none",
    "action": "pay",
    "resource": {"type": "payment"},
    "policy": "bank/pay",
}


def test_every_key_of_the_plugin_is_taken():
    config = loaded(
        addr="127.0.0.1:9000",
        path="envoy/authz/result",
        dry_run=True,
        enable_reflection=True,
        proto_descriptor="set.pb",
        grpc_max_recv_msg_size=40194304,
        grpc_max_send_msg_size=2147483647,
        skip_request_body_parse=True,
        enable_performance_metrics=True,
        grpc_request_duration_seconds_buckets=[0.001, 1.0],
    )
    plugin = config.policy.opa_envoy_plugin
    assert plugin.dry_run
    assert plugin.skip_request_body_parse
    assert plugin.proto_descriptor is not None
    assert plugin.proto_descriptor.is_absolute()
    assert config.server.listen == "127.0.0.1:9000"
    assert config.server.max_check == 40194304
    assert list(config.entrypoints) == ["envoy/authz/result"]


@pytest.mark.parametrize(
    ("given", "entrypoint"),
    [
        ({}, "envoy/authz/allow"),
        ({"path": ""}, "envoy/authz/allow"),
        ({"path": "/envoy//authz/result/"}, "envoy/authz/result"),
        ({"path": "envoy/authz"}, "envoy/authz"),
        ({"query": "data.istio.authz.allow"}, "istio/authz/allow"),
    ],
)
def test_the_rule_that_decides(given, entrypoint):
    assert loaded(**given).policy.opa_envoy_plugin.entrypoint == entrypoint


@pytest.mark.parametrize(
    ("addr", "listen"),
    [
        (":9191", "127.0.0.1:9191"),
        ("localhost:9191", "localhost:9191"),
        ("grpc://127.0.0.1:9191", "127.0.0.1:9191"),
        ("[::1]:9191", "[::1]:9191"),
        ("unix:///run/check.sock", "unix:///run/check.sock"),
    ],
)
def test_where_it_listens(addr, listen):
    assert loaded(addr=addr).server.listen == listen


def test_without_addr_the_server_block_says_where():
    assert loaded(server={"listen": "127.0.0.1:7000"}, dry_run=False).server.listen == "127.0.0.1:7000"
    assert loaded(server={"listen": "127.0.0.1:7000"}, addr="127.0.0.1:7000").server.listen == "127.0.0.1:7000"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (text(server={"listen": "127.0.0.1:7000"}, addr=":9191"), "server.listen says 127.0.0.1:7000"),
        (text(server={"max_check": "1MiB"}, grpc_max_recv_msg_size=4096), "server.max_check says 1048576"),
        (text(addr="0.0.0.0:9191"), "clear text from other hosts"),
        (text(addr="unix://@abstract"), "abstract Unix sockets are not served"),
        (text(addr="9191"), "host:port"),
        (text(path="a b"), "rule's path"),
        (text(query="x = data.a"), "plain reference"),
        (text(path="a", query="data.a"), "path and query"),
        (text(dry_run="yes"), "dry-run"),
        (text(dryrun=True), "dry-run"),
        (text(grpc_max_recv_msg_size=1), "grpc-max-recv-msg-size"),
        (text(policy={"compat": "opa"}), "opa-envoy-plugin"),
        (text(policy={"compat": ""}, path="a/b"), "its contract is not asked for"),
        ("policy: {compat: opa-envoy-plugin}", "no policy to ask"),
        (text(routes=[{**ROUTE, "policy_headers": ["x-role"]}]), "the policy sets headers by its own result"),
        (
            "attributes: {sources: [{kind: static, name: s, values: {a: b}}]}\n"
            + text(routes=[{**ROUTE, "attributes": [{"source": "s", "to": {"context.properties.a": "a"}}]}]),
            "no collected attributes",
        ),
        (text(policy={"candidate": {"path": "next"}}), "a candidate is compared by our result contract"),
    ],
)
def test_what_is_refused(source, says):
    assert says in problems(source)


def test_routes_add_their_entrypoints():
    config = loaded(routes=[ROUTE], path="envoy/authz/allow")
    assert config.entrypoints == {
        "envoy/authz/allow": ("policy", "opa_envoy_plugin", "path"),
        "bank/pay": ("routes", "pay", "policy"),
    }


def test_without_compat_nothing_changes():
    config = load_text("policy: {path: policy}")
    assert config.server.listen == "127.0.0.1:9191"
    assert config.entrypoints == {}


def test_explain_says_what_is_another_contract(tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text(text(routes=[ROUTE]))
    said = CliRunner().invoke(app, ["explain", "pay", str(file)]).stdout
    assert "its result are those of opa-envoy-plugin" in said
    assert "How long a decision is reused\n  Not at all." in said
    assert "Envoy's failure_mode_allow decides then" in said


def test_config_check_says_who_decides(tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text(text())
    assert "the policy decides everything" in CliRunner().invoke(app, ["check", str(file)]).stdout


OLD = """
services: {controller: {url: https://bundles.example}}
bundles: {authz: {service: controller}}
labels: {app: people}
plugins:
  envoy_ext_authz_grpc:
    addr: :9191
    dry-run: true
  other: {}
"""


def test_opas_configuration_is_converted(tmp_path):
    old = tmp_path / "opa.yaml"
    old.write_text(OLD)
    done = CliRunner().invoke(app, ["from-opa-envoy-plugin", str(old), "--policy", "rego"])
    assert done.exit_code == 0
    config = load_text(done.stdout)
    assert config.policy.compat == "opa-envoy-plugin"
    assert config.policy.opa_envoy_plugin.dry_run
    assert config.policy.path is not None
    assert config.policy.path.name == "rego"
    notes = dict(convert(old, "rego").notes)
    assert "policy.bundle" in notes["bundles"]
    assert set(notes) == {"services", "bundles", "labels", "plugins.other"}
    assert all(key in done.stderr for key in notes)


def test_an_empty_block_is_the_plugins_defaults(tmp_path):
    old = tmp_path / "opa.yaml"
    old.write_text("plugins:\n  envoy_ext_authz_grpc:\n")
    assert list(load_text(convert(old, "rego").text).entrypoints) == ["envoy/authz/allow"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("[]", ""),
        ("bundles: {}", "there is no such block"),
        ("plugins: {other: {}}", "there is no such block"),
        ("plugins: {envoy_ext_authz_grpc: {adr: x}}", "did you mean `addr`?"),
        ("plugins: {envoy_ext_authz_grpc: 7}", "opa_envoy_plugin"),
        ("plugins: {", "opa.yaml"),
    ],
)
def test_what_cannot_be_converted_is_told(tmp_path, source, says):
    old = tmp_path / "opa.yaml"
    old.write_text(source)
    with pytest.raises(ConfigError) as caught:
        convert(old, "rego")
    assert says in str(caught.value)
    assert str(old) in str(caught.value)
