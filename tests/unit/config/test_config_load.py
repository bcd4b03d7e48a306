"""From a text to a `Config`, or to every problem with file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from extauthz.config import Config, inspect, load, load_text
from extauthz.config.files import named_files
from extauthz.errors import ConfigError


def refused(text: str):
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    return caught.value.problems


def one(text: str):
    problems = refused(text)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "version: 1\n", "{}\n"])
def test_an_empty_file_is_valid_and_covers_nothing(text):
    config = load_text(text)
    assert config.routes == ()
    assert config.issuers == ()
    assert config.workload.trust_domains == {}
    assert config == Config.model_validate({}).model_copy() or config.digest


def test_the_base_of_the_other_tests_is_accepted(text):
    config = load_text(text({}))
    assert [route.name for route in config.routes] == ["read-transfer", "create-transfer"]
    assert config.issuer("bank").max_lifetime == 3600.0
    assert config.issuer("none") is None
    assert config.route("create-transfer").effects == ("money",)
    assert config.route("none") is None


@pytest.mark.parametrize(
    ("text", "line", "key", "message", "remedy"),
    [
        ("enviroment: prod\n", 1, "enviroment", "unknown key", "did you mean `environment`?"),
        ("server:\n  listne: x\n", 2, "server.listne", "unknown key", "did you mean `listen`?"),
        ("server:\n  zzz: x\n", 2, "server.zzz", "unknown key", "keys here: admission"),
        ("version: 2\n", 1, "version", "1 is expected", "write 1"),
        ("version: '1'\n", 1, "version", "1 is expected", "write 1"),
        ("server:\n  workers: 0\n", 2, "server.workers", "below 1", "at least 1"),
        ("server:\n  workers: 2.5\n", 2, "server.workers", "a whole number", ""),
        ("server:\n  workers: '2'\n", 2, "server.workers", "a whole number", ""),
        ("server:\n  workers: true\n", 2, "server.workers", "a whole number", ""),
        ("server:\n  workers:\n", 2, "server.workers", "a whole number", "give it a value"),
        ("server:\n  drain: 700s\n", 2, "server.drain", "above 10m", "at most 10m"),
        ("server:\n  drain: 5\n", 2, "server.drain", "a duration with its unit", "200ms"),
        ("server:\n  drain: 5 s\n", 2, "server.drain", "a duration with its unit", "200ms"),
        ("server:\n  max_check: 1B\n", 2, "server.max_check", "below 4KiB", "at least 4KiB"),
        ("server:\n  max_check: 4096\n", 2, "server.max_check", "a size with its unit", "8KiB"),
        ("server:\n  transport: grpc\n", 2, "server.transport", "one of auto, envoy, grpcio", "`grpcio`"),
        ("server:\n  listen: nowhere\n", 2, "server.listen", "host:port", "127.0.0.1"),
        ("server:\n  listen: 9191\n", 2, "server.listen", "text is expected", "quotes"),
        ("server: 5\n", 1, "server", "a mapping", ""),
        ("routes: {}\n", 1, "routes", "a list of mappings", ""),
        ("routes: [x]\n", 1, "routes[0]", "a mapping", ""),
        ("verifier:\n  offload: yes\n", 2, "verifier.offload", "true or false", "without quotes"),
        ("workload:\n  environments: prod\n", 2, "workload.environments", "a list", "brackets"),
        ("environment: Prod\n", 1, "environment", "must match", "see what it is for"),
        ("policy:\n  path: 5\n", 2, "policy.path", "a path", ""),
        ("attributes:\n  sources:\n    - name: a\n", 3, "attributes.sources[0]", "static, request, http", "`kind`"),
        ("attributes:\n  sources:\n    - kind: htp\n", 3, "attributes.sources[0]", "static, request, http", "`kind`"),
        ("server:\n  tls: {certificate: a, private_key: b}\n", 2, "server.tls.client_ca", "missing", "add `client_ca`"),
        ("server:\n  workers: 2\n  listen: unix:///run/x.sock\n", 1, "server", "Unix socket", "set workers to 1"),
        ("server:\n  drain: " + "9" * 400 + "s\n", 2, "server.drain", "above 10m", ""),
        (
            "issuers:\n- {name: a, issuer: b, algorithms: [none], jwks: {file: k}}\n",
            2,
            "issuers[0].algorithms[0]",
            "one of ES256",
            "",
        ),
        (
            "issuers:\n- {name: a, issuer: b, algorithms: [], jwks: {file: k}}\n",
            2,
            "issuers[0].algorithms",
            "too few",
            "1 or more",
        ),
        (
            "issuers:\n- {name: a, issuer: b, algorithms: [ES256], jwks: {}}\n",
            2,
            "issuers[0].jwks",
            "exactly one of",
            "",
        ),
        (
            "issuers:\n- {name: a, issuer: b, algorithms: [ES256], jwks: {url: 'http://keys.example/'}}\n",
            2,
            "issuers[0].jwks",
            "plain http",
            "https",
        ),
    ],
)
def test_a_problem_names_line_key_and_remedy(text, line, key, message, remedy):
    problem = one(text)
    assert (problem.file, problem.line, problem.key) == ("extauthz.yaml", line, key)
    assert message in problem.message
    assert remedy in problem.remedy
    assert problem.remedy


def test_a_token_rule_needs_an_audience(text):
    problem = one(text({"routes.0.token.audiences": []}))
    assert problem.key == "routes[0].token.audiences"
    assert "too few" in problem.message


def test_endless_durations_are_refused(text):
    problem = one(text({"issuers.0.max_lifetime": "9" * 400 + "s"}))
    assert problem.key == "issuers[0].max_lifetime"
    assert "too large" in problem.message


def test_zero_may_stand_without_a_unit(text):
    assert load_text(text({"routes.0.cache_ttl": 0})).routes[0].cache_ttl == 0.0


def test_all_problems_come_at_once_in_the_order_of_the_file():
    problems = refused("a: 1\nserver:\n  workers: 0\n  drain: x\nroutes:\n  - name: B\n")
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert len(problems) >= 7
    assert {"a", "server.workers", "server.drain", "routes[0].name", "routes[0].action"} <= {p.key for p in problems}


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2hunter2\n",
        "server:\n  api_key: hunter2hunter2\n",
        "password: [hunter2hunter2, {a: hunter2hunter2}]\n",
        "password:\n  hunter2hunter2: 1\n",
        "token: hunter2hunter2\nenvironment: hunter2hunter2/\n",
        "client_secret: 'https://a:hunter2hunter2@x'\nissuers:\n- {name: a, issuer: b, algorithms: [ES256], jwks: {url: 'https://a:hunter2hunter2@x'}}\n",
        'secret: "hunter2\'\\\\hunter2"\nissuers:\n- {name: a, issuer: b, algorithms: [ES256], jwks: {url: "hunter2\'\\\\hunter2"}}\n',
        "attributes:\n  sources:\n  - {kind: http, name: a, url: 'https://x/', fields: {a: {from: /a}}, headers: {authorization: hunter2hunter2}}\n",
    ],
)
def test_secrets_are_not_repeated(text):
    assert "hunter2" not in str(ConfigError(refused(text)))


def test_a_secret_in_place_of_a_block_or_as_a_key_is_not_repeated(text):
    for key, value in (
        ("routes.0.token", "hunter2hunter2"),
        ("routes.0.token", {"hunter2hunter2": 1}),
        ("password", {"hunter2hunter2": 1}),
    ):
        written = text({key: value, "issuers.0.jwks.url": "hunter2hunter2"})
        assert "hunter2" not in str(ConfigError(refused(written)))


def test_words_of_the_format_are_not_taken_for_secrets(text):
    problem = one(text({"routes.0.token.issuers": ["banc"]}))
    assert "banc" in problem.message
    assert problem.remedy == "did you mean `bank`?"


def test_relative_paths_start_at_the_file(tmp_path):
    file = tmp_path / "conf" / "extauthz.yaml"
    file.parent.mkdir()
    file.write_text(
        """
server: {tls: {certificate: c.pem, private_key: /abs/k.pem, client_ca: ca.pem}}
workload: {trust_domains: {a.example: {trust_bundle: td/a.pem}}}
issuers: [{name: a, issuer: b, algorithms: [ES256], jwks: {file: ../keys.json}}]
revocation: {file: revoked.yaml}
attributes:
  sources:
    - {kind: http, name: a, url: "https://x/", fields: {a: {from: /a}}, bearer_token_file: t.txt}
policy: {path: policies}
telemetry: {records: {output: log/records.jsonl}}
"""
    )
    config = load(file)
    here = file.parent
    assert config.server.tls.certificate == here / "c.pem"
    assert config.server.tls.private_key == Path("/abs/k.pem")
    assert config.workload.trust_domains["a.example"].trust_bundle == here / "td/a.pem"
    assert config.issuers[0].jwks.file == here / "../keys.json"
    assert config.revocation.file == here / "revoked.yaml"
    assert config.attributes.sources[0].bearer_token_file == str(here / "t.txt")
    assert config.policy.path == here / "policies"
    assert config.telemetry.records.output == str(here / "log/records.jsonl")
    named = {str(path) for _, path in named_files(config)}
    assert str(here / "t.txt") in named
    assert str(here / "log/records.jsonl") not in named
    assert len(named) == 8


@pytest.mark.parametrize("output", ["stdout", "stderr", "none"])
def test_words_are_no_paths(output):
    assert load_text(f"telemetry: {{records: {{output: {output}}}}}").telemetry.records.output == output


def test_load_and_inspect_tell_the_same(tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text("server: {workers: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    report = inspect(file)
    assert report.config is None
    assert report.problems == caught.value.problems
    assert inspect(tmp_path / "none.yaml").problems[0].line == 0


def test_a_configuration_knows_its_file_and_digest(tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text("version: 1\n")
    config = load(file)
    assert config.origin.file == str(file)
    assert config.digest == load_text("version: 1\n").digest
    file.write_text("version: 1 \n")
    assert load(file).digest != config.digest
    assert Config().digest == ""


def test_a_configuration_is_frozen(text):
    config = load_text(text({}))
    with pytest.raises(ValueError, match="frozen"):
        config.environment = "staging"


def test_lone_surrogates_in_a_text_are_a_problem():
    assert "UTF-8" in one("environment: \ud800\n").message
