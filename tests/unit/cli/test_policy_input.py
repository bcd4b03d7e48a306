"""`extauthz policy input`: requests as people have them, through a real configuration."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import typer

from extauthz.cli.policy.requests import from_access_log, from_curl

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "extauthz.example.yaml"
BODY = {"tenant": "acme", "amount": 12.5, "currency": "EUR", "transaction_type": "wire", "region": "eu"}
CURL = f"curl -sS -XPOST https://edge.bank.example/v1/transfers -H 'Content-Type: application/json' -d '{json.dumps(BODY)}'"
CLAIMS = {"sub": "alice", "roles": ["wire-operator"], "tenant": "acme"}


def test_curl_as_a_shell_reads_it():
    asked = from_curl(
        "curl 'https://h.example:8443/a/b?x=1&y=2' \\\n -H 'X-A: b: c' -H Host:other --json '{\"k\": 1}' -k"
    )
    assert (asked.method, asked.host, asked.path, asked.scheme) == ("POST", "other", "/a/b?x=1&y=2", "https")
    assert asked.headers["x-a"] == "b: c"
    assert asked.headers["content-type"] == "application/json"
    assert asked.body == b'{"k": 1}'


def test_curl_defaults():
    asked = from_curl("curl h.example")
    assert (asked.method, asked.host, asked.path, asked.scheme, asked.body) == ("GET", "h.example", "/", "http", b"")
    asked = from_curl("curl --request PUT --url=http://h/ -d a=1 -d b=2")
    assert (asked.method, asked.body, asked.headers["content-type"]) == (
        "PUT",
        b"a=1&b=2",
        "application/x-www-form-urlencoded",
    )


@pytest.mark.parametrize("command", ["curl", "curl a b", "curl a --weird", "curl a -H", "curl 'a", "curl a -d @file"])
def test_a_curl_command_that_is_not_understood_is_refused(command):
    with pytest.raises(typer.Exit):
        from_curl(command)


DEFAULT_LINE = (
    '[2016-04-15T20:17:00.310Z] "POST /api/v1/locations?x=1 HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http"'
    ' "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"\n'
)


def test_envoys_default_access_log():
    asked = from_access_log(DEFAULT_LINE)
    assert (asked.method, asked.path, asked.host, asked.protocol) == (
        "POST",
        "/api/v1/locations?x=1",
        "locations",
        "HTTP/2",
    )
    assert asked.id == "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2"
    assert asked.headers["user-agent"] == "nsq2http"


def test_an_access_log_in_json():
    asked = from_access_log('{"method": "GET", "path": "/a", "authority": "h", "request_id": "-", "duration": 3}')
    assert (asked.method, asked.path, asked.host, asked.id) == ("GET", "/a", "h", "")


@pytest.mark.parametrize("line", ["", "GET /", "{", '{"method": "GET"}', "[]"])
def test_what_is_no_access_log_is_refused(line):
    with pytest.raises(typer.Exit):
        from_access_log(line)


def test_a_curl_command_becomes_the_policy_input(cli):
    done = cli(
        "input", EXAMPLE, "--curl", CURL, "--claims", json.dumps(CLAIMS), "--set", "subject.properties.region=eu"
    )
    assert done.code == 0
    asked = done.json
    assert asked["action"] == {"name": "transfer.create", "properties": {"method": "POST"}}
    assert asked["resource"]["properties"] == BODY
    assert asked["subject"]["id"] == "alice"
    assert asked["subject"]["properties"]["roles"] == ["wire-operator"]
    assert asked["subject"]["properties"]["purpose"] == "payment"
    assert asked["subject"]["properties"]["region"] == "eu"
    assert asked["context"]["route"] == "create-transfer"


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def token(**claims):
    whole = {"iss": "https://issuer.bank.example", "sub": "bob", "aud": "https://api.bank.example", "iat": 1000, "exp": 1300,
             "scope": "payments", "purpose": "payment", "jti": "t1", "client_id": "app"} | claims  # fmt: skip
    return f"{part({'alg': 'ES256', 'typ': 'at+jwt', 'kid': 'k'})}.{part(whole)}.{part('signature')}"


def test_the_requests_own_token_is_read_and_not_verified(cli):
    done = cli("input", EXAMPLE, "--curl", f"{CURL} -H 'Authorization: Bearer {token(tenant='acme')}'", "--json").json
    assert done["refused"] is None
    assert done["input"]["subject"]["id"] == "bob"
    assert done["input"]["subject"]["properties"]["tenant"] == "acme"
    assert any("signature is not verified" in note for note in done["notes"])


@pytest.mark.parametrize(
    ("claims", "code"),
    [({"aud": "other"}, "token.audience"), ({"scope": ""}, "token.scope"), ({"purpose": "play"}, "token.purpose"),
     ({"exp": 100_000}, "token.lifetime"), ({"exp": "soon"}, "token.claims")],
)  # fmt: skip
def test_a_token_that_the_route_would_refuse(cli, claims, code):
    done = cli("input", EXAMPLE, "--curl", f"{CURL} -H 'Authorization: Bearer {token(**claims)}'", "--json")
    assert done.code == 1
    assert done.json["refused"]["code"] == code
    assert done.json["input"] is None


def test_requests_that_no_policy_sees(cli):
    unknown = cli("input", EXAMPLE, "--curl", "curl https://edge.bank.example/nowhere", "--json")
    assert (unknown.code, unknown.json["refused"]["code"]) == (1, "request.route_unknown")
    ambiguous = cli("input", EXAMPLE, "--curl", "curl https://edge.bank.example/v1//transfers")
    assert (ambiguous.code, ambiguous.out) == (1, "")
    assert "refused at layer request: request.path_ambiguous" in ambiguous.err


def test_a_log_line_has_no_body_and_no_token(cli):
    line = DEFAULT_LINE.replace("/api/v1/locations?x=1", "/v1/transfers").replace("locations", "edge.bank.example")
    done = cli("input", EXAMPLE, "--access-log", "-", stdin=line)
    assert done.code == 0
    assert done.json["subject"]["type"] == "anonymous"
    assert "give --claims" in done.err
    assert "give --set for what is read from it: resource.properties.tenant" in done.err


def test_a_template_has_a_value_of_the_right_type_for_all_that_is_read(cli):
    done = cli("input", EXAMPLE, "--route", "create-transfer")
    properties = done.json["resource"]["properties"]
    assert (properties["amount"], properties["currency"], properties["masked"]) == (1, "text", False)
    assert done.json["subject"]["properties"]["roles"] == ["text"]


def test_the_command_line_is_held_to_one_source(cli):
    assert cli("input", EXAMPLE).code == 2
    assert cli("input", EXAMPLE, "--curl", CURL, "--access-log", "x").code == 2
    assert cli("input", EXAMPLE, "--route", "nowhere").code == 2
    assert cli("input", EXAMPLE, "--curl", CURL, "--claims", "no json").code == 2
    assert cli("input", EXAMPLE, "--curl", CURL, "--set", "x").code == 2


def test_the_document_of_opa_envoy_plugin(cli, tmp_path, policy):
    config = tmp_path / "extauthz.yaml"
    config.write_text(f"version: 1\npolicy:\n  path: {policy}\n  compat: opa-envoy-plugin\n")
    done = cli("input", config, "--curl", CURL, "--workload", "spiffe://bank.example/a", "--json").json
    assert done["entrypoint"] == "envoy/authz/allow"
    assert done["input"]["parsed_path"] == ["v1", "transfers"]
    assert done["input"]["parsed_body"] == BODY
    assert done["input"]["source_principal"] == "spiffe://bank.example/a"
