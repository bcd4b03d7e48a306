from __future__ import annotations

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.errors import ConfigError
from extauthz.policy import archive, manifest
from extauthz.policy.archive import BundleRefused, Limits
from extauthz.policy.bundle import Trust, open_bundle
from extauthz.policy.bundle_settings import BundleSettings
from extauthz.policy.settings import PolicySettings
from extauthz.policy.source_checks import check, too_costly
from tests.support.bundles import Signer, entry, ordinary, packed, tarred

GOOD = gzip.decompress(packed())
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}\.(rego|json|yaml)", fullmatch=True)


def reads(data: bytes, **limits) -> dict[str, bytes]:
    return archive.unpack(data, Limits(**limits))


@given(st.dictionaries(NAMES, st.binary(max_size=1500), max_size=8))
def test_what_is_packed_is_unpacked(contents):
    assert reads(archive.pack(contents)) == contents
    assert archive.pack(contents) == archive.pack(dict(reversed(contents.items())))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, len(GOOD)),
)
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(changes, cut):
    """The fuzz oracle: a policy, or our one error; never another exception."""
    tar = bytearray(GOOD)
    for place, value in changes:
        tar[place] = value
    for data in (gzip.compress(bytes(tar), 1), gzip.compress(bytes(tar[:cut]), 1), bytes(tar)):
        assert accepted(data) in {True, False}


def accepted(data: bytes) -> bool:
    try:
        open_bundle(data, "b", trust=Trust(), limits=Limits())
    except ConfigError:
        return False
    return True


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data):
    with pytest.raises(ConfigError):
        open_bundle(data, "b", trust=Signer().trust, limits=Limits())


def test_opas_spellings_of_a_name_are_read():
    contents = {"/demo/a.rego": b"1", "./demo/b.rego": b"2", "c.rego": b"3"}
    assert reads(tarred(ordinary(contents))) == {"demo/a.rego": b"1", "demo/b.rego": b"2", "c.rego": b"3"}
    long = f"{'d' * 120}/{'e' * 100}.rego"
    assert reads(archive.pack({long: b"x"})) == {long: b"x"}


def test_limits_are_those_of_the_configuration():
    data = packed()
    with pytest.raises(BundleRefused, match="bytes packed"):
        reads(data, packed=100)
    with pytest.raises(BundleRefused, match="bytes unpacked"):
        reads(tarred([entry("a", b"x" * 5000)]), unpacked=4999)
    assert reads(tarred([entry("a", b"x" * 5000)]), unpacked=5000)
    with pytest.raises(BundleRefused, match="more than 2 files"):
        reads(data, files=2)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z0-9-]+(\.[a-z0-9-]+)*$",
        r"^spiffe://[a-z.]+(/[A-Za-z0-9._-]+)+$",
        r"([a-z]+,)*[a-z]+",
        r"(ab?c)+",
        r"(foo|bar)*",
        r"\(a+\)+",
        r"[(*+]+",
        r"[]a]+",
        "a{1,100}",
        r"(?i)^bearer\s+[a-z]+$",
        "",
    ],
)
def test_ordinary_expressions_are_accepted(pattern):
    assert too_costly(pattern) == ""


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(a*)*b", "((a+)){2,}", "(a|b*)+", r"(\d+\s*)+", "(?:x+)*", "(?P<n>x+)+", "(a{2000}){6}"]
)
def test_catastrophic_expressions_are_found(pattern):
    assert too_costly(pattern)


def test_expressions_are_looked_at_only_where_regex_is_called():
    check({"a.rego": b'package a\n\n# regex.match("(a+)+")\nx := "(a+)+"\n'})
    with pytest.raises(BundleRefused, match=r"a\.rego:3"):
        check({"a.rego": b'package a\n\nx if regex.is_valid("(a+)+")\n'})


def test_nesting_counts_neither_strings_nor_comments():
    brackets = "[" * 500
    check({"a.rego": f'package a\n\n# {brackets}\nx := "{brackets}"\n\ny := `{brackets}`\n'.encode()})
    check({"a.rego": f"package a\n\nx := {'[' * 199}1{']' * 199}\n".encode()})
    with pytest.raises(BundleRefused, match=r"a\.rego:3: nests deeper than 200"):
        check({"a.rego": f"package a\n\nx := {'[' * 201}1{']' * 201}\n".encode()})


def test_a_manifest_survives_its_own_writing():
    written = manifest.Manifest("r-1", ("a/b", "c"), 7, ("a/b/decision",), {"a/b/decision": {"input": []}})
    assert manifest.read(written.dump()) == written
    assert manifest.read(None) == manifest.Manifest()
    assert manifest.read(b'{"revision": "", "roots": ["/a/"], "metadata": {"other": 1}}').roots == ("a",)


def test_what_a_policy_is_made_of():
    extra = {
        "demo/policy_test.rego": b"package demo_test\n",
        "README.md": b"x",
        ".signatures.json": b"{}",
        "demo/x.json": b"not read",
    }
    found = open_bundle(packed(extra=extra, revision=""), "b", trust=Trust(), limits=Limits())
    assert sorted(found.policy.files) == ["demo/data.json", "demo/policy.rego"]
    assert found.policy.revision == found.policy.digest
    assert [case.name for case in found.cases] == ["a_clerk_may", "a_guest_may_not"]
    assert found.signed_by == ""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({"sequence": 2}, {"sequence": 3, "revision": "r2", "allowed": []}, ""),
        ({"sequence": 2}, {"sequence": 2}, ""),
        ({}, {"revision": "r2", "allowed": []}, ""),
        ({}, {"sequence": 1, "revision": "r2", "allowed": []}, ""),
        ({"sequence": 2}, {"sequence": 2, "revision": "r2", "allowed": []}, "rollback"),
        ({"sequence": 2}, {"sequence": 1}, "rollback"),
        ({"sequence": 2}, {"revision": "r2", "allowed": []}, "rollback"),
        ({}, {"allowed": []}, "was something else"),
    ],
)
def test_what_may_follow_what(old, new, why):
    one, other = (open_bundle(packed(**changes), "b", trust=Trust(), limits=Limits()) for changes in (old, new))
    if not why:
        other.follows(one)
        other.follows(None)
        return
    with pytest.raises(BundleRefused, match=why):
        other.follows(one)


@pytest.mark.parametrize(
    "bundle",
    [
        {},
        {"file": "a.tar.gz", "url": "https://a.example/b"},
        {"url": "https://a.example/b", "keep": "kept"},
        {"url": "https://a.example/b", "keys": [{"file": "k"}]},
        {"url": "ftp://a.example/b", "keys": [{"file": "k"}], "keep": "kept"},
        {"url": "http://a.example/b", "keys": [{"file": "k"}], "keep": "kept", "token_file": "t"},
        {"url": "https://a.example/b", "keys": [{"file": "k"}], "keep": "kept", "unsafe_unsigned": True},
        {"file": "a", "keys": [{"file": "k"}, {"file": "l"}]},
        {"file": "a", "keys": [{"file": "k", "algorithm": "HS256"}]},
    ],
)
def test_contradictions_are_refused(bundle):
    with pytest.raises(ValidationError):
        BundleSettings(**bundle)


def test_a_bundle_stands_instead_of_a_directory():
    signed = {"url": "https://a.example/b", "keys": [{"file": "k"}], "keep": "kept"}
    assert BundleSettings(**signed).keys[0].algorithm == "ES256"
    assert BundleSettings(url="http://127.0.0.1:1/b", unsafe_unsigned=True, keep="kept", token_file="t")
    with pytest.raises(ValidationError, match="either path or bundle"):
        PolicySettings(path="p", bundle={"file": "a"})
