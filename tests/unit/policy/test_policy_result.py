from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.codes import POLICY_LAYERS
from extauthz.errors import EngineFault
from extauthz.model import Allow, Deny, Exchange
from extauthz.policy import result
from extauthz.policy.result import parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)
REASON = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["role.denied", "attribute.x", "engine.internal", "request.x", "role", "Role.x"])
        | JSON,
        "message": JSON,
        "remedy": JSON,
        "detail": JSON,
    },
)
OBLIGATIONS = st.fixed_dictionaries(
    {},
    optional={
        "headers": JSON | st.dictionaries(st.sampled_from(["x-a", "X-A", "", "x y", ":path"]), st.text(max_size=9)),
        "mask": JSON | st.lists(st.sampled_from(["iban", "a,b", "", "a b"])),
        "metadata": JSON,
        "exchange": JSON | st.fixed_dictionaries({}, optional={"audience": JSON, "scopes": JSON, "purpose": JSON}),
    },
)
RESULT = JSON | st.fixed_dictionaries(
    {},
    optional={
        "allow": st.booleans() | JSON,
        "reasons": st.lists(REASON, max_size=4) | JSON,
        "obligations": OBLIGATIONS | JSON,
        "ttl": JSON,
    },
)


@given(RESULT)
def test_any_json_is_a_decision_or_one_fault_and_only_true_allows(value):
    try:
        decision = parse(value)
    except EngineFault as error:
        fault = error
    else:
        fault = None
    if fault is not None:
        assert fault.code == "engine.invalid_result"
        return
    allows = value is True or (isinstance(value, dict) and value.get("allow") is True and not value.get("reasons"))
    assert isinstance(decision, Allow if allows else Deny)
    assert isinstance(decision, Allow) or all(one.layer in POLICY_LAYERS for one in decision.reasons)


def refused(value) -> str:
    with pytest.raises(EngineFault) as caught:
        parse(value)
    assert caught.value.code == "engine.invalid_result"
    return caught.value.detail


def test_an_integer_that_python_takes_for_true_does_not_allow():
    refused(1)
    refused({"allow": 1})
    refused({"allow": 1.0})


@pytest.mark.parametrize("name", ["X-Up", "x y", "", "x\r\ny", ":path", "x:", "é", "a" * 129])
def test_header_names_are_lower_case_tokens(name):
    refused({"allow": True, "obligations": {"headers": {name: "v"}}})


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", " a", "a ", "é", "a\x7f", "a" * 5000, 1, None, ["a"]])
def test_header_values_are_plain(value):
    refused({"allow": True, "obligations": {"headers": {"x-a": value}}})


def test_plain_headers_and_an_empty_value_pass():
    decision = parse({"allow": True, "obligations": {"headers": {"x-a": "a b\tc", "x-b": ""}}})
    assert decision.obligations.headers == (("x-a", "a b\tc"), ("x-b", ""))


@pytest.mark.parametrize("ttl", [-1, -0.5, "5", True, [], {}])
def test_a_ttl_is_a_number_of_seconds(ttl):
    refused({"allow": True, "ttl": ttl})
    refused({"allow": False, "ttl": ttl})


def test_a_huge_ttl_is_only_a_number():
    assert parse(orjson.loads('{"allow": true, "ttl": 1e300}')).ttl == 1e300
    refused({"allow": True, "ttl": float("inf")})
    refused({"allow": True, "ttl": float("nan")})


@pytest.mark.parametrize(
    "code", ["engine.internal", "request.malformed", "nothing.x", "role", "role.", "role.a b", "", 1]
)
def test_a_policy_denies_at_its_own_layers_alone(code):
    refused({"allow": False, "reasons": [{"code": code}]})


def test_texts_are_bounded_and_hold_no_control_characters():
    for text in ("a\nb", "\x1b[31m", "\u2028", "x" * (result.MAX_TEXT + 1), 1):
        refused({"allow": False, "reasons": [{"code": "role.denied", "message": text}]})


def test_counts_are_bounded():
    refused({"allow": False, "reasons": [{"code": "role.denied"}] * (result.MAX_REASONS + 1)})
    refused({"allow": True, "obligations": {"headers": {f"x-{n}": "" for n in range(result.MAX_HEADERS + 1)}}})
    refused({"allow": True, "obligations": {"mask": ["a"] * (result.MAX_MASKS + 1)}})
    refused({"allow": True, "obligations": {"metadata": {"a": "x" * result.MAX_METADATA}}})


def test_a_fault_names_no_value():
    secret = "s3cr3t"
    assert secret not in refused({"allow": True, "obligations": {"headers": {"x-a": secret + "\n"}}})
    assert secret not in refused(secret)


def test_masks_are_joined_by_commas_and_hold_none():
    assert parse({"allow": True, "obligations": {"mask": ["iban", "a.b-c_d"]}}).obligations.mask == ("iban", "a.b-c_d")
    refused({"allow": True, "obligations": {"mask": ["a,b"]}})


def test_metadata_cannot_be_changed_by_the_next_reader():
    metadata = parse({"allow": True, "obligations": {"metadata": {"a": {"b": [1]}}}}).obligations.metadata
    assert metadata == {"a": {"b": (1,)}}
    assert orjson.dumps(metadata) == b'{"a":{"b":[1]}}'
    for change in (
        lambda: metadata.update(x=1),
        lambda: metadata["a"].pop("b"),
        lambda: metadata.__setitem__("a", 1),
        lambda: metadata.__ior__({"x": 1}),
        lambda: metadata.setdefault("x", 1),
        metadata.clear,
        metadata.popitem,
    ):
        with pytest.raises(TypeError):
            change()


def test_keys_that_nobody_knows_are_ignored():
    assert parse({"allow": True, "debug": {"x": 1}}) == Allow()


def test_an_exchange_is_read():
    asked = {"audience": "ledger", "scopes": ["transfers:read"], "purpose": "risk-explanation"}
    decision = parse({"allow": True, "obligations": {"exchange": asked}})
    assert decision.obligations.exchange == Exchange("ledger", ("transfers:read",), "risk-explanation")
    assert parse({"allow": True, "obligations": {"exchange": {}}}).obligations.exchange == Exchange()


@pytest.mark.attack
@pytest.mark.parametrize(
    "asked",
    [
        "ledger",
        ["ledger"],
        {"audience": 1},
        {"audience": "a b"},
        {"audience": "a\r\nb"},
        {"audience": "a" * 513},
        {"scopes": "transfers:read"},
        {"scopes": [""]},
        {"scopes": ["a b"]},
        {"scopes": ["a"] * 65},
        {"purpose": None},
        {"purposes": ["risk-explanation"]},
    ],
)
def test_a17_an_exchange_that_is_not_understood_is_a_fault(asked):
    with pytest.raises(EngineFault, match=r"obligations\.exchange"):
        parse({"allow": True, "obligations": {"exchange": asked}})
