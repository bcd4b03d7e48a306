import json

import pytest

from extauthz.errors import ExtauthzError
from extauthz.transport import envoy
from extauthz.transport.spec import VARIABLE, WorkerSpec

SPEC = WorkerSpec(0, "m:a", "/run/x", "127.0.0.1:9191", 4096, 100, lifeline=7)
TLS = WorkerSpec(1, "m:a", "/run/x", "unix:///run/c.sock", 4096, 100, "/tls/cert", "/tls/key", "/tls/ca")


def manager(spec):
    listener = envoy.configuration(spec, "m:app")["static_resources"]["listeners"][0]
    return listener, listener["filter_chains"][0], listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_admin_is_a_private_socket_never_a_port():
    for spec in (SPEC, TLS):
        address = envoy.configuration(spec, "m:app")["admin"]["address"]
        assert address == {"pipe": {"path": spec.admin, "mode": 0o600}}


def test_a_tcp_listener_shares_its_port_and_speaks_http_2_only():
    listener, chain, http = manager(SPEC)
    assert listener["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 9191}}
    assert listener["enable_reuse_port"]
    assert "transport_socket" not in chain
    assert http["codec_type"] == "HTTP2"
    assert http["http2_protocol_options"]["max_concurrent_streams"] == 100
    assert "access_log" not in http
    assert json.loads(http["http_filters"][0]["typed_config"]["filter_config"]["value"])["app"] == "m:app"


def test_a_unix_listener_is_not_open_to_all_and_tls_asks_for_a_certificate():
    listener, chain, _ = manager(TLS)
    assert listener["address"] == {"pipe": {"path": "/run/c.sock", "mode": 0o660}}
    assert not listener["enable_reuse_port"]
    tls = chain["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"]
    assert tls["common_tls_context"]["validation_context"] == {"trusted_ca": {"filename": "/tls/ca"}}


def test_a_spec_survives_the_environment():
    assert WorkerSpec.of(TLS.environment()) == TLS
    assert SPEC.control == "/run/x/worker-0.sock"


@pytest.mark.parametrize("environ", [{}, {VARIABLE: "x"}, {VARIABLE: "[]"}, {VARIABLE: '{"unknown": 1}'}])
def test_a_worker_that_nobody_started_says_so(environ):
    with pytest.raises(ExtauthzError, match="extauthz serve"):
        WorkerSpec.of(environ)
