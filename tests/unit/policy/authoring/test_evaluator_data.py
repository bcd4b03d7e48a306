"""A policy asked on this machine, by either engine, and with parts of its data replaced."""

from __future__ import annotations

import pytest

from extauthz.errors import ConfigError, EngineFault, MissingPart
from extauthz.model import Allow, Deny
from extauthz.policy.authoring import evaluator as module
from extauthz.policy.authoring.data import data_of, with_data
from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.case_files import read_cases
from extauthz.policy.loader import load
from tests.support.engines import write_policy
from tests.support.parts import require_opa

FILES = {
    "a.rego": "package a\n\ndefault decision := false\n\ndecision if input.n <= data.t.limits[input.role]\n\nhalf := input.n / 2\n",
    "t/data.yaml": "limits: {clerk: 5}\nday: 2026-01-02\n",
    "data.json": '{"t": {"other": [1]}}',
}
CASES = b"""version: 1
entrypoint: a/decision
cases:
  within: {input: {n: 5, role: clerk}, expect: allow}
  above: {input: {n: 6, role: clerk}, expect: role.denied}
  raised: {input: {n: 6, role: clerk}, data: {t: {limits: {clerk: 9}}}, expect: allow}
"""


@pytest.fixture(params=["embedded", "tool"])
def engine(request, monkeypatch):
    require_opa()
    if request.param == "tool":

        def absent():
            raise MissingPart("OPA as a C library", "not for this test")

        monkeypatch.setattr(module, "find_library", absent)
    return request.param


def test_answers(engine, tmp_path):
    policy = load(write_policy(tmp_path, FILES))
    with Evaluator(policy) as evaluator:
        assert evaluator.name == engine
        assert isinstance(evaluator.decide("a/decision", b'{"n": 5, "role": "clerk"}'), Allow)
        assert isinstance(evaluator.decide("a/decision", b'{"n": 6, "role": "clerk"}'), Deny)
        assert evaluator.raw("a/half", b'{"n": 6}') == 3
        with pytest.raises(EngineFault, match=r"engine\.undefined"):
            evaluator.raw("a/half", b"{}")
        assert [one.passed for one in evaluator.run(read_cases(["c"], lambda _: CASES))] == [True, True, True]


def test_a_broken_policy_is_refused_with_its_line(engine, tmp_path):
    policy = load(write_policy(tmp_path, {"a.rego": "package a\n\nb if {\n\tx\n}\n"}))
    with pytest.raises(ConfigError, match="unsafe"):
        Evaluator(policy)


def test_data_is_merged_as_opa_reads_it(tmp_path):
    policy = load(write_policy(tmp_path, FILES))
    assert data_of(policy) == {"t": {"other": [1], "limits": {"clerk": 5}, "day": "2026-01-02"}}
    other = with_data(policy, {"t": {"other": 2, "limits": {"chief": 1}}})
    assert data_of(other) == {"t": {"other": 2, "limits": {"clerk": 5, "chief": 1}, "day": "2026-01-02"}}
    assert other.revision != policy.revision


def test_damaged_data_is_refused(tmp_path):
    policy = load(write_policy(tmp_path, {"a.rego": "package a\n", "t/data.yaml": "- a list\n"}))
    with pytest.raises(ConfigError, match=r"t/data\.yaml"):
        data_of(policy)
