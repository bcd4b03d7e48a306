"""Each lint finds what it is for, at its line, and nothing in what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from extauthz.policy.authoring.checking import check, is_wide
from tests.support.engines import write_policy
from tests.support.parts import require_opa

POLICIES = Path(__file__).resolve().parents[4] / "policies"
ENTRY = "# METADATA\n# entrypoint: true\n"
DEFAULT = "default decision := false\n\n"


def found(tmp_path, body, *, head=DEFAULT, schema=False, cases="", **files):
    """(check, line below the header) of every finding but the missing case."""
    text = f"package a\n\n{head}{ENTRY}{body}\n"
    more = {"cases.yaml": f"version: 1\nentrypoint: a/decision\ncases:\n{cases}"} if cases else {}
    directory = write_policy(tmp_path, {"a.rego": text, **more, **files})
    report = check(require_opa(), directory, schema=schema)
    offset = text[: text.index(body)].count("\n")
    return [(one.rule, one.line - offset if one.line else 0) for one in report.findings if one.rule != "no-case"]


@pytest.mark.parametrize(
    "expression",
    [
        'not startswith(input.a, "x")',
        'not input.a == "x"',
        "not input.a in data.list",
        "not data.table[input.a]",
        "not data.table[input.a].b",
        "not f(data.table[input.a])",
        "not input.a > 3",
    ],
)
def test_not_over_what_can_be_undefined(tmp_path, expression):
    rule = f"decision if {{\n\t{expression}\n}}\n\nf(_) := true"
    assert ("not-undefined", 2) in found(tmp_path, rule)


@pytest.mark.parametrize(
    "expression", ["not input.a.b", "not given", "not data.table.fixed", "not data.table.fixed == 3", "not f(3)"]
)
def test_not_over_rules_and_paths_is_right(tmp_path, expression):
    body = f"decision if {{\n\t{expression}\n}}\n\ngiven if input.a == 1\n\nf(x) if x == 4"
    assert [rule for rule, _ in found(tmp_path, body)] == []


def test_missing_default(tmp_path):
    assert found(tmp_path, "decision if input.a.b == 1", head="") == [("missing-default", 1)]


@pytest.mark.parametrize("value", ["true", '{"allow": true}'])
def test_default_that_allows(tmp_path, value):
    assert ("default-allows", -3) in found(
        tmp_path, "decision := false if input.a.b == 1", head=f"default decision := {value}\n\n"
    )


def test_reasons_without_parts(tmp_path):
    body = 'decision := {"allow": false, "reasons": [{"code": "role.x"}]} if input.a.b == 1'
    assert found(tmp_path, body) == [("reason-message", 1), ("reason-remedy", 1)]


def test_reason_without_a_code(tmp_path):
    body = 'decision := {"allow": false, "reasons": [{"message": "m", "remedy": "r"}]} if input.a.b == 1'
    assert found(tmp_path, body) == [("reason-code", 1)]


@pytest.mark.parametrize(
    ("code", "rule"), [("cloud.x", "unknown-layer"), ("request.x", "unknown-layer"), ("X y", "reason-code")]
)
def test_codes_of_reasons(tmp_path, code, rule):
    body = f'decision := denial({{"code": "{code}", "message": "m", "remedy": "r"}}) if input.a.b == 1\n\ndenial(x) := {{"allow": false, "reasons": [x]}}'
    assert found(tmp_path, body) == [(rule, 1)]


def test_reasons_that_only_an_answer_shows(tmp_path):
    """The reason is put together by a function: only its answer to a case tells that it has no remedy."""
    body = 'decision := denial("role.x") if input.a.b == 1\n\ndenial(c) := {"allow": false, "reasons": [object.union({"code": c}, {"message": "m"})]}'
    assert found(tmp_path, body, cases="  c: {input: {a: {b: 1}}, expect: role.x}\n") == [("reason-remedy", 1)]


def test_wide_projection_says_where(tmp_path):
    body = "decision if {\n\tsome name\n\tinput.subject[name] == 1\n}"
    assert found(tmp_path, body) == [("wide-projection", 3)]


def test_the_whole_input(tmp_path):
    assert found(tmp_path, "decision if {\n\tcount(input) == 1\n}") == [("wide-projection", 2)]


def test_what_is_wide():
    assert [is_wide(path) for path in ((), ("subject",), ("resource", "properties"))] == [True] * 3
    assert [is_wide(path) for path in (("action", "name"), ("context", "properties", "x"), ("attributes",))] == [
        False
    ] * 3


@pytest.mark.parametrize(
    ("call", "words"), [("time.now_ns() > 3", "clock_ttl"), ('rand.intn("x", 2) == 1', "never reused")]
)
def test_nondeterministic(tmp_path, call, words):
    directory = write_policy(tmp_path, {"a.rego": f"package a\n\n{DEFAULT}{ENTRY}decision if {{\n\t{call}\n}}\n"})
    (one,) = [one for one in check(require_opa(), directory, schema=False).findings if one.rule == "nondeterministic"]
    assert one.warning
    assert words in one.message
    assert one.line == 8


def test_no_entrypoint(tmp_path):
    directory = write_policy(tmp_path, {"a.rego": "package a\n\ndefault allow := false\n"})
    assert "no-entrypoint" in {one.rule for one in check(require_opa(), directory, schema=False).findings}


def test_a_comment_switches_one_check_off_at_its_line(tmp_path):
    body = "decision if {\n\t# extauthz:ignore not-undefined because a is required\n\tnot input.a == 1\n\tnot input.b == 1\n}"
    assert found(tmp_path, body) == [("not-undefined", 4)]


def test_the_schema_names_the_nearest_field(tmp_path):
    directory = write_policy(
        tmp_path, {"a.rego": f"package a\n\n{DEFAULT}{ENTRY}decision if input.subject.properties.rolez == 1\n"}
    )
    report = check(require_opa(), directory)
    (one,) = [one for one in report.findings if one.rule == "rego_type_error"]
    assert one.remedy == "did you mean `roles`?"
    assert one.lines()[1].endswith("decision if input.subject.properties.rolez == 1")


def test_an_entrypoint_without_cases_is_a_warning(tmp_path):
    directory = write_policy(tmp_path, {"a.rego": f"package a\n\n{DEFAULT}{ENTRY}decision if input.a.b == 1\n"})
    (one,) = check(require_opa(), directory, schema=False).findings
    assert (one.rule, one.warning) == ("no-case", True)


def test_what_does_not_parse(tmp_path):
    directory = write_policy(tmp_path, {"a.rego": "package a\n\nb := {\n"})
    report = check(require_opa(), directory, schema=False)
    assert {one.rule for one in report.findings} == {"rego_parse_error"}
    assert report.analyses == ()


def test_the_shipped_policies_are_clean():
    report = check(require_opa(), POLICIES)
    assert report.findings == ()
    assert len(report.analyses) == 9
