"""`extauthz policy` new, check, fmt, test, eval, explain, bench: from an empty directory, by their output and exit code."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from extauthz.cli.policy import VERBS
from extauthz.errors import ConfigError
from tests.unit.cli.conftest import change

RULES = "authz/transfers.rego"


def test_new_is_tested_checked_and_formatted(cli, policy):
    assert cli("test", policy, "--threshold", "95").code == 0
    checked = cli("check", policy, "--strict")
    assert checked.code == 0
    assert "authz/transfers/decision reads 5 of the input's paths" in checked.out
    assert cli("fmt", policy, "--check").code == 0


def test_new_wants_an_empty_directory(cli, policy, tmp_path):
    with pytest.raises(ConfigError, match="is not empty"):
        cli("new", policy)
    (tmp_path / "git" / ".git").mkdir(parents=True)
    assert cli("new", tmp_path / "git", "--json").json["entrypoint"] == "authz/transfers/decision"


def test_a_failing_test_shows_its_line(cli, policy, tmp_path):
    change(
        policy / "authz" / "transfers_test.rego",
        '"/resource/properties/amount": 10000}',
        '"/resource/properties/amount": 10001}',
    )
    report = tmp_path / "junit.xml"
    done = cli("test", policy, "--junit", report)
    assert done.code == 1
    assert "transfers_test.rego:15: authz.transfers_test.test_limit_is_the_last_amount_allowed" in done.out
    assert "   15 |     transfers.decision.allow with input as" in done.out
    assert "6 of 7 tests passed" in done.out
    suites = {suite.get("name"): suite for suite in ET.parse(report).getroot()}  # noqa: S314 - our own
    assert (suites["rego"].get("tests"), suites["rego"].get("failures")) == ("7", "1")
    assert (suites["decision-cases"].get("tests"), suites["decision-cases"].get("failures")) == ("6", "0")


def test_a_failing_case_shows_its_line(cli, policy):
    change(policy / "cases.yaml", "{resource.properties.amount: 25000}", "{resource.properties.amount: 2}")
    done = cli("test", policy, "--json")
    assert done.code == 1
    (found,) = done.json["findings"]
    assert (found["rule"], found["source"].strip()) == ("amount_above_the_limit", "amount_above_the_limit:")
    assert "expected deny attribute.amount_limit, got allow" in found["message"]


def test_coverage_below_the_threshold_fails(cli, policy):
    done = cli("test", policy, "--threshold", "99.9")
    assert done.code == 1
    assert "at least 99.9 % is wanted" in done.out


def test_only_some_run(cli, policy):
    done = cli("test", policy, "--run", "tenants_do_not_cross", "--json").json
    assert [one["name"] for one in done["tests"]] == ["authz.transfers_test.test_tenants_do_not_cross"]
    assert [one["name"] for one in done["cases"]] == ["tenants_do_not_cross"]
    assert cli("test", policy, "--run", "(").code == 2


def test_nothing_to_run_fails(cli, tmp_path):
    (tmp_path / "a.rego").write_text("package a\n")
    done = cli("test", tmp_path)
    assert done.code == 1
    assert "There is nothing to run" in done.out


@pytest.mark.parametrize("verb", ["check", "fmt", "test", "bench"])
def test_a_directory_that_is_not_there(cli, tmp_path, verb):
    with pytest.raises(ConfigError, match="gone"):
        cli(verb, tmp_path / "gone")


def test_what_does_not_compile_is_shown_with_its_line(cli, policy, tmp_path):
    with (policy / RULES).open("a") as rules:
        rules.write("\nallow if {\n\tinput.subject.rolez\n\tx == 1\n}\n")
    for verb in ("test", "check"):
        done = cli(verb, policy)
        assert done.code == 1
        assert "var x is unsafe" in done.out
        assert "     x == 1" in done.out
    report = tmp_path / "junit.xml"
    assert cli("test", policy, "--junit", report).code == 1
    assert ET.parse(report).getroot()[0].get("name") == "compile"  # noqa: S314 - our own


def test_check_names_a_wrong_field_and_the_right_one(cli, policy):
    change(policy / RULES, "input.subject.properties.roles", "input.subject.properties.rolles")
    done = cli("check", policy)
    assert done.code == 1
    assert "did you mean `roles`?" in done.out
    assert (
        f"{policy / RULES}:42: undefined ref" in done.out
        or "undefined ref: input.subject.properties.rolles" in done.out
    )


def test_warnings_fail_only_when_asked(cli, policy):
    (policy / "cases.yaml").unlink()
    assert cli("check", policy).code == 0
    done = cli("check", policy, "--strict", "--json")
    assert done.code == 1
    assert [one["rule"] for one in done.json["findings"]] == ["no-case"]


def test_fmt_writes_and_says_what(cli, policy):
    good = (policy / RULES).read_text()
    (policy / RULES).write_text(good.replace("\tpermitted\n", "        permitted\n"))
    assert cli("fmt", policy, "--check").code == 1
    assert RULES in cli("fmt", policy).out
    assert (policy / RULES).read_text() == good
    (policy / RULES).write_text(good + "\nb := {\n")
    done = cli("fmt", policy, "--json")
    assert done.code == 1
    assert done.json["problems"][0]["rule"] == "rego_parse_error"


def test_eval(cli, policy, asked):
    file = policy / "inputs" / "transfer.json"
    assert cli("eval", "authz/transfers/decision", file, "-p", policy).out == "allow\n"
    asked["subject"]["properties"]["roles"] = []
    denied = cli("eval", "data.authz.transfers.decision", "-p", policy, stdin=json.dumps(asked))
    assert denied.code == 0
    assert denied.out.startswith("deny at layer role, HTTP status 403\n  role.permission_missing: ")
    answer = cli("eval", "authz/transfers/decision", "-", "-p", policy, "--json", stdin=json.dumps(asked)).json
    assert answer["decision"]["code"] == "role.permission_missing"
    assert cli("eval", "authz/transfers/permitted", file, "-p", policy, "--raw").out == "true\n"


def test_eval_without_a_decision(cli, policy):
    done = cli("eval", "authz/transfers/nothing", "-", "-p", policy, stdin="{}")
    assert done.code == 1
    assert "engine.undefined" in done.out
    assert cli("eval", "../x", "-", "-p", policy, stdin="{}").code == 2
    assert cli("eval", "a/b", "-", "-p", policy, stdin='{"a":1,"a":2}').code == 2
    assert cli("eval", "a/b", "gone.json", "-p", policy).code == 2


def test_explain(cli, policy, asked):
    asked["resource"]["properties"]["amount"] = 50000
    done = cli("explain", "-", "-p", policy, stdin=json.dumps(asked))
    assert done.code == 0
    assert "authz/transfers.rego:47" in done.out
    assert "resource.properties.amount: at most 10000 (now 50000)" in done.out
    told = cli("explain", "-", "-p", policy, "--json", stdin=json.dumps(asked)).json
    assert told["decision"]["code"] == "attribute.amount_limit"
    assert told["rule"]["file"] == RULES
    assert [one["path"] for one in told["allowed_with_any"]] == ["resource.properties.amount"]
    assert told["allowed_with_any"][0]["at_most"] == 10000


def test_explain_an_allow(cli, policy):
    done = cli("explain", policy / "inputs" / "transfer.json", "-p", policy)
    assert done.out.startswith("allow\n")
    assert "Because these were true" in done.out


def test_a_bundle_does_as_well_as_a_directory(cli, policy, asked, tmp_path):
    bundle = tmp_path / "policy.tar.gz"
    assert cli("build", policy, "-o", bundle).code == 0
    asked["resource"]["properties"]["amount"] = 50000
    text = json.dumps(asked)
    assert "attribute.amount_limit" in cli("eval", "authz/transfers/decision", "-", "-p", bundle, stdin=text).out
    told = cli("explain", "-", "-p", bundle, stdin=text).out
    assert f"{bundle}/authz/transfers.rego:47" in told
    assert "at most 10000 (now 50000)" in told
    assert cli("bench", bundle, "--seconds", "0.02", "--engine", "sidecar", "--json").json[0]["faults"] == 0


ID = "8c229dcc-bed8-41cb-aa6a-83a063ada64c"


def record(**more):
    return {
        "type": "check", "decision_id": ID, "timestamp": "2026-01-01T00:00:00+00:00", "path": "authz/transfers/decision",
        "revision": "r1", "layer": "attribute", "code": "attribute.amount_limit", "request": {"route": "t"},
        "result": {"allow": False, "reasons": [{"code": "attribute.amount_limit", "detail": "see authz/limits"}]},
    } | more  # fmt: skip


def lines(file, *entries):
    file.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in entries))
    return file


def test_explain_a_recorded_decision(cli, policy, asked, tmp_path):
    asked["resource"]["properties"]["amount"] = 50000
    records = lines(tmp_path / "records.jsonl", record(input=asked))
    told = cli("explain", ID, "-p", policy, "--records", records, "--json").json
    assert told["decision"]["code"] == "attribute.amount_limit"


def test_explain_says_what_is_needed_where_no_input_is_known(cli, policy, tmp_path):
    records = lines(tmp_path / "records.jsonl", record())
    done = cli("explain", ID, "-p", policy, "--records", records)
    assert done.code == 1
    assert "attribute.amount_limit" in done.out
    assert "api.decisions.inputs" in done.err
    assert cli("explain", ID, "-p", policy).code == 2
    assert cli("explain", ID.replace("8c", "9c"), "-p", policy, "--records", records).code == 1


def test_explain_a_decision_that_no_policy_made(cli, policy, tmp_path):
    result = {"allow": False, "reasons": [{"code": "token.expired"}]}
    records = lines(tmp_path / "records.jsonl", record(revision="", layer="token", code="token.expired", result=result))
    done = cli("explain", ID, "-p", policy, "--records", records)
    assert done.code == 0
    assert "deny at layer token: token.expired" in done.out
    assert "before any policy was asked" in done.out


def test_bench(cli, policy):
    rows = cli("bench", policy, "--seconds", "0.02", "--askers", "1", "--json").json
    assert {row["engine"] for row in rows} >= {"sidecar"}
    for row in rows:
        assert row["entrypoint"] == "authz/transfers/decision"
        assert row["faults"] == 0
        assert row["decisions"] >= 1
        assert 0 < row["p50"] <= row["p99"]
    assert cli("bench", policy, "-e", "authz/other").code == 1


def test_every_verb_helps(cli):
    for verb in VERBS:
        done = cli(verb, "--help")
        assert done.code == 0
        assert "--help" in done.out
