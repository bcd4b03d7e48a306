"""Strict JSON: what two readers could read differently is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.strict_json import MISSING, NotStrict, Pointer, fits, parse


def read(body: bytes, max_bytes: int = 10_000, max_depth: int = 16) -> object:
    return parse(body, max_bytes=max_bytes, max_depth=max_depth).root


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, 2.5, true, null, "x"]} ', {"a": [1, 2.5, True, None, "x"]}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"0.0", 0.0),
        (b"-0", 0),
        (b"1200.50", 1200.5),
        (b"1e3", 1000.0),
        (b"0.00000000000000000000", 0.0),
        ('"é€😀"'.encode(), "é€😀"),
        (rb'"\ud83d\ude00"', "😀"),
        (b'"[[[[[[[[[[[[[[[[[[[[["', "[" * 21),
        (rb'"\"[[[[[[[[[[[[[[[[[[[["', '"' + "[" * 20),
    ],
)
def test_documents(body: bytes, value: object) -> None:
    assert read(body) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"\x00"', "not JSON"),
        (b'"\n"', "not JSON"),
        (b'{"a": 1} // x', "not JSON"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("{}".encode("utf-16-le"), "not JSON"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xc0\xaf"', "not UTF-8"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "NaN"),
        (b"-Infinity", "NaN"),
        (b'{"a":1,"a":2}', "twice"),
        (rb'{"a":1,"\u0061":2}', "twice"),
        (b'{"b":{"c":1,"c":1}}', "twice"),
        (b"1e400", "out of range"),
        (b"1e-400", "out of range"),
        (b"1000.00000000000000001", "too many digits"),
        (b"0." + b"0" * 50, "too many digits"),
        (b"9223372036854775808", "integer"),
        (b"-9223372036854775809", "integer"),
        (b"9" * 5000, "integer"),
        (b"[" * 17 + b"]" * 17, "deeply"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "deeply"),
        (b"[" * 9_000, "deeply"),
        (b'{"a":' * 1_800, "deeply"),
        (b" " * 10_001, "too large"),
    ],
)
def test_documents_that_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(NotStrict, match=why):
        read(body)


def test_depth_counts_nesting_not_brackets() -> None:
    wide = b"[" + b"[]," * 100 + b"[]]"
    assert len(read(wide, max_depth=2)) == 101  # type: ignore[arg-type]  # it is a list
    with pytest.raises(NotStrict, match="deeply"):
        fits(wide, max_bytes=1000, max_depth=1)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        root = parse(body, max_bytes=256, max_depth=4).root
    except NotStrict:
        return
    assert root == json.loads(body)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_documents_come_back(value: object) -> None:
    assert read(json.dumps(value).encode(), max_depth=64) == value
    assert read(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"), max_depth=64) == value


@given(st.floats())
def test_doubles_come_back_or_are_refused(value: float) -> None:
    try:
        assert read(json.dumps(value).encode()) == value
    except NotStrict:
        assert not math.isfinite(value) or abs(value) < 1e-300


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/a", 1),
        ("/b/0", "x"),
        ("/b/1/c", True),
        ("/b/2", MISSING),
        ("/b/-", MISSING),
        ("/b/00", MISSING),
        ("/b/-1", MISSING),
        ("/b/c", MISSING),
        ("/a/b", MISSING),
        ("/none", MISSING),
        ("/d~1e/f~0g", 5),
        ("/~01", 6),
        ("/", 7),
        ("/n", None),
        ("", {"whole"}),
    ],
)
def test_pointers(pointer: str, value: object) -> None:
    document = {"a": 1, "b": ["x", {"c": True}], "d/e": {"f~g": 5}, "~1": 6, "": 7, "n": None}
    found = Pointer(pointer).find(document)
    assert (found is document) if pointer == "" else (found == value)


def test_text_that_is_no_pointer() -> None:
    with pytest.raises(NotStrict, match="pointer"):
        Pointer("a/b")


@pytest.mark.parametrize(
    "document",
    [
        {"amount": 1, "Amount": 9},
        {"Amount": 9},
        {"AMOUNT": 9},
        {"a\u006dounT": 1},
        {"nested": {"\u212aey": 1}},
        {"nested": {"key": 1, "KEY": 2}},
    ],
)
def test_a_look_alike_member_is_refused(document: dict[str, object]) -> None:
    """Go's encoding/json would fill `amount` from `Amount`; U+212A folds to k there too."""
    pointer = "/nested/key" if "nested" in document else "/amount"
    with pytest.raises(NotStrict, match="case"):
        Pointer(pointer).find(document)
