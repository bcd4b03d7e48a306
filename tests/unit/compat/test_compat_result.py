"""The plugin's result: what goes beyond the table, and that only a literal true allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.check.compat import result
from extauthz.check.compat.result import PluginAllow, PluginDeny
from extauthz.check.messages import CheckResponse
from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "allowed", "headers", "response_headers_to_add", "request_headers_to_remove", "query_parameters_to_set",
        "query_parameters_to_remove", "body", "http_status", "dynamic_metadata",
    ]
)  # fmt: skip


@given(st.dictionaries(KEYS, JSON, max_size=6) | JSON)
def test_nothing_but_a_literal_true_allows(value):
    try:
        decision = result.read(value)
    except EngineFault:
        return
    said = CheckResponse.FromString(decision.response)
    literal = value is True or (isinstance(value, dict) and value["allowed"] is True)
    assert isinstance(decision, PluginAllow) is literal
    assert (said.status.code == 0) is literal
    assert said.WhichOneof("http_response") != ("denied_response" if literal else "ok_response")


def test_decisions_are_ours():
    allow, denial = result.read({"allowed": True}), result.read({"allowed": False, "http_status": 401})
    assert isinstance(allow, Allow)
    assert isinstance(denial, Deny)
    assert (denial.code, denial.status) == ("role.denied", 401)
    bare = result.read(False)
    assert isinstance(bare, PluginDeny)
    assert bare.status == 403


@pytest.mark.parametrize("key", ["headers", "response_headers_to_add"])
@pytest.mark.parametrize("header", [{"x-a": "1\r\nx-b: 2"}, {"x-a": "1\x00"}, {"x-a\n": "1"}, {"": "1"}, {"x\x7f": ""}])
def test_a_header_cannot_carry_another_one(key, header):
    with pytest.raises(EngineFault, match=f"{key}.*control character"):
        result.read({"allowed": True, key: header})


def test_a_header_to_remove_is_no_text_of_several_lines():
    with pytest.raises(EngineFault, match="control character"):
        result.read({"allowed": True, "request_headers_to_remove": ["x-a\r\n"]})


def test_a_tab_in_a_value_is_a_value():
    said = CheckResponse.FromString(result.read({"allowed": True, "headers": {"x-a": "1\t2"}}).response)
    assert said.ok_response.headers[0].header.value == "1\t2"


def test_faults_quote_no_value():
    with pytest.raises(EngineFault) as caught:
        result.read({"allowed": True, "headers": {"x-secret-name": {"s3cret": 1}}})
    assert "secret" not in str(caught.value)


def test_metadata_is_bounded():
    nested: dict[str, object] = {}
    inner = nested
    for _ in range(100):
        inner["a"] = inner = {}
    with pytest.raises(EngineFault, match="too deep"):
        result.read({"allowed": True, "dynamic_metadata": nested})
    with pytest.raises(EngineFault, match="too large"):
        result.read({"allowed": True, "dynamic_metadata": {"a": float("inf")}})


def test_the_decision_id_goes_before_the_policys_own():
    said = result.read({"allowed": True, "dynamic_metadata": {"decision_id": "mine", "a": 1}})
    metadata = CheckResponse.FromString(said.response + result.named("ours")).dynamic_metadata
    assert metadata.fields["decision_id"].string_value == "ours"
    assert metadata.fields["a"].number_value == 1
