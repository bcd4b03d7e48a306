"""Explanations: the rule, the conditions that failed, and changes that are allowed when they are tried."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import orjson
import pytest

from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny, Reason
from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.authoring.explaining import explain
from extauthz.policy.authoring.whatif import WhatIf, at
from extauthz.policy.case_files import load_cases
from extauthz.policy.loader import load
from extauthz.strict_json import MISSING
from tests.support.engines import write_policy
from tests.support.parts import require_opa

POLICIES = Path(__file__).resolve().parents[4] / "policies"
PAYMENTS = "extauthz/payments/decision"


def fixture(name):
    return json.loads((POLICIES / "fixtures" / f"{name}.json").read_text())


def changed(document, changes):
    document = copy.deepcopy(document)
    for change in changes:
        holder = document
        for part in change.path[:-1]:
            holder = holder.setdefault(part, {})
        if change.values[0] is MISSING:
            del holder[change.path[-1]]
        else:
            holder[change.path[-1]] = change.values[0]
    return document


@pytest.mark.parametrize(
    ("name", "file", "read"),
    [
        ("payments_deny_amount_limit", "extauthz/abac/amount.rego", "resource.properties.amount"),
        ("payments_deny_tenant", "extauthz/abac/tenant.rego", "resource.properties.tenant"),
        ("payments_deny_permission", "extauthz/rbac/permission.rego", "action.name"),
        ("payments_deny_amount_missing", "extauthz/abac/amount.rego", "resource.properties.amount"),
    ],
)
def test_the_rule_and_what_it_read(name, file, read):
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture(name))
    assert isinstance(told.decision, Deny)
    assert told.story.rule.file == file
    source = (POLICIES / file).read_text().splitlines()[told.story.rule.line - 1]
    assert told.decision.code in source
    assert read in dict(told.inputs)


@pytest.mark.parametrize("name", ["payments_deny_region", "models_deny_staging", "features_deny_tenant"])
def test_what_is_proposed_is_allowed(name):
    """Every proposal is put to the policy again, here by hand."""
    (case,) = [one for one in load_cases(POLICIES) if one.name == name]
    told = explain(require_opa(), POLICIES, case.entrypoint, case.input)
    assert told.alone or told.together
    with Evaluator(load(POLICIES)) as evaluator:
        for changes in [*([one] for one in told.alone), told.together]:
            answer = evaluator.decide(case.entrypoint, orjson.dumps(changed(case.input, changes)))
            assert isinstance(answer, Allow) == bool(changes)


def test_the_limit_is_found_to_the_last_unit():
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture("payments_deny_amount_limit"))
    (amount,) = [one for one in told.alone if one.path[-1] == "amount"]
    assert (amount.before, amount.at_most, amount.at_least) == (75000, 50000, None)


def test_what_failed_has_its_values():
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture("payments_deny_amount_limit"))
    (failed,) = told.story.failed
    assert failed.source == "input.resource.properties.amount <= limit"
    assert dict(failed.values) == {"input.resource.properties.amount": 75000, "limit": 50000}


def test_two_changes_where_one_is_not_enough():
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture("payments_deny_tenant"))
    assert told.alone == ()
    assert {one.path: one.values for one in told.together} == {
        ("resource", "properties", "tenant"): ("acme",),
        ("resource", "properties", "region"): ("eu",),
    }


def test_an_allow_names_its_rule_and_proposes_nothing():
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture("payments_allow_edge"))
    assert isinstance(told.decision, Allow)
    assert told.story.rule is not None
    assert told.alone == told.together == ()


def test_missing_values_that_mattered_come_first():
    told = explain(require_opa(), POLICIES, PAYMENTS, fixture("payments_deny_amount_missing"))
    assert told.missing[0] == "resource.properties.amount"
    assert dict(told.inputs)["resource.properties.amount"] is MISSING


SET = """package a

default decision := false

# METADATA
# entrypoint: true
decision := {"allow": count(deny) == 0, "reasons": [one | some one in deny]}

deny contains {"code": "role.none", "message": "m", "remedy": "r"} if not known

deny contains {"code": "attribute.old", "message": "m", "remedy": "r"} if input.age > 30

known if input.role == "clerk"

known if {
	input.role == "chief"
	input.age < 10
}
"""


def test_rules_with_several_bodies_and_sets_of_reasons(tmp_path):
    directory = write_policy(tmp_path, {"a.rego": SET})
    told = explain(require_opa(), directory, "a/decision", {"role": "chief", "age": 20})
    assert told.story.rule.line == 9
    assert [(one.line, one.reads) for one in told.story.failed] == [(13, ("role",)), (17, ("age",))]
    proposed = {one.path: one for one in told.alone}
    assert proposed["role",].values == ("clerk",)
    assert proposed["age",].at_most == 9
    positive = explain(require_opa(), directory, "a/decision", {"role": "clerk", "age": 31})
    assert positive.story.rule.line == 11
    assert [change.at_most for change in positive.alone] == [30]


def test_a_policy_that_cannot_answer_is_told_as_its_fault(tmp_path):
    directory = write_policy(tmp_path, {"a.rego": "package a\n\ndecision := 3 if input.x == 1\n"})
    assert explain(require_opa(), directory, "a/decision", {"x": 1}).decision.code == "engine.invalid_result"
    assert explain(require_opa(), directory, "a/decision", {}).decision.code == "engine.undefined"


def asking(allowed):
    def evaluate(entrypoint, document):
        return Allow() if allowed(json.loads(document)) else Deny((Reason("attribute.x"),))

    return evaluate


def test_nothing_is_proposed_where_nothing_is_allowed():
    search = WhatIf(asking(lambda _: False), "a/b", {"x": 1, "y": "t"}, [("x",), ("y",)], [1, 2, "t", True])
    denied = Deny((Reason("attribute.x"),))
    assert search.single({}) == []
    assert search.several({}, denied) == []


def test_a_value_that_must_go_and_one_that_must_come():
    gone = WhatIf(asking(lambda doc: "x" not in doc), "a/b", {"x": 1}, [("x",)], []).single({})
    assert [one.values for one in gone] == [(MISSING,)]
    come = WhatIf(asking(lambda doc: doc.get("x") == "k"), "a/b", {}, [("x",)], ["j", "k"]).single({})
    assert [(one.before, one.values) for one in come] == [(MISSING, ("k",))]


def test_the_whole_input_is_searched_by_its_values():
    search = WhatIf(asking(lambda doc: doc.get("a", {}).get("b") == 2), "a/b", {"a": {"b": 1}}, [()], [2])
    assert [one.path for one in search.single({})] == [("a", "b")]
    search = WhatIf(asking(lambda doc: doc.get("a", {}).get("b") == 2), "a/b", {"a": {"b": 1}}, [("a",)], [2])
    assert [one.path for one in search.single({})] == [("a", "b")]


def test_a_fault_is_no_answer():
    def broken(entrypoint, document):
        raise EngineFault("engine.invalid_result", "")

    assert WhatIf(broken, "a/b", {"x": 1}, [("x",)], [2]).single({}) == []


def test_a_list_is_extended():
    search = WhatIf(asking(lambda doc: "b" in doc.get("r", [])), "a/b", {"r": ["a"]}, [("r",)], ["b"])
    assert search.single({})[0].values == (["a", "b"],)


def test_at():
    assert at({"a": {"b": None}}, ("a", "b")) is None
    assert at({"a": 1}, ("a", "b")) is MISSING
