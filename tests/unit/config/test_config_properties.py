"""Whatever the bytes are: a `Config`, or a `ConfigError` that repeats no secret. Never anything else."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.config import Config, load_text
from extauthz.config.loader import inspect_bytes, shape
from extauthz.errors import ConfigError

from .conftest import changed

SECRET = "s3cr3t-0f-th3-b4nk"
SYNTAX = [
    "&a", "*a", "!!x", "!<y>", "<<:", "? ", "- ", ": ", "{", "}", "[", "]", "|", ">", "%YAML 1.1", "%TAG ! x", "---", "...",
    "'", '"', "\\", "\n", "\n  ", "\t", "#", "~", "\0", "\x85", "\u2028", "\ufeff", "\\ud800", '"\\U00110000"', "é", "1e999",
    "0x", "version: 1\n", "routes:\n", "server:", "name", "jwt", "30s", "0", "9" * 40, "[[[[[[[[", "? ? ? ",
]  # fmt: skip
BUDGET = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judge(data: bytes) -> Config | None:
    report = inspect_bytes(data, "f.yaml")
    assert (report.config is None) == bool(report.problems)
    for problem in report.problems:
        assert problem.file == "f.yaml"
        assert problem.line >= 0
        assert problem.message
        assert problem.remedy
        assert "\n" not in str(problem)
        assert len(problem.key) < 4096
    return report.config


@BUDGET
@given(st.binary(max_size=400))
def test_random_bytes(data):
    judge(data)


@BUDGET
@given(st.text(max_size=200))
def test_random_text(text):
    judge(text.encode("utf-8", "surrogatepass"))


@BUDGET
@given(st.lists(st.sampled_from(SYNTAX), max_size=40).map("".join))
def test_pieces_of_syntax(text):
    judge(text.encode())


def keys() -> st.SearchStrategy[str]:
    """Keys of the format, near misses of them, and any text."""
    known = sorted({"version", *_names(shape().schema)})
    return st.sampled_from(known) | st.sampled_from(known).map(lambda key: key[:-1]) | st.text(max_size=8)


def _names(node):
    if isinstance(node, dict):
        yield from node.get("properties", {})
        for child in node.values():
            yield from _names(child)
    elif isinstance(node, list):
        for child in node:
            yield from _names(child)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(
        ["30s", "4MiB", "jwt", "money", "spiffe://a/b", "unix:///x", "https://[", "http://a:b", "a/b", "http"]
    )
)
TREES = st.dictionaries(
    keys(),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys(), inner, max_size=4)),
)


@BUDGET
@given(TREES)
def test_random_trees(tree):
    judge(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


PLACES = [
    "server.drain", "server.listen", "server.tls", "workload.trust_domains", "workload.registered", "issuers.0.issuer",
    "issuers.0.jwks", "issuers.0.jwks.url", "issuers.0.claims", "issuers.0.types", "attributes.sources.0.values",
    "attributes.sources.1.fields", "attributes.sources.2.url", "attributes.sources.2.headers", "policy.path", "policy.cache",
    "telemetry.records.output", "telemetry.records.labels", "routes.0.match.path", "routes.0.match.hosts", "routes.0.token",
    "routes.0.workloads", "routes.0.resource.id", "routes.0.policy", "routes.0.attributes", "routes.1.effects", "routes",
]  # fmt: skip


@BUDGET
@given(
    st.dictionaries(
        st.sampled_from(PLACES),
        st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys(), inner, max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_a_good_file_with_random_values_in_it(changes):
    try:
        text = changed({key: value for key, value in sorted(changes.items()) if key != "routes" or len(changes) == 1})
    except (TypeError, IndexError, KeyError, AttributeError, ValueError):
        return  # one change took away the place of another
    judge(text.encode("utf-8", "surrogatepass"))


SECRET_KEYS = [
    "password",
    "client_secret",
    "api_key",
    "token",
    "Authorization",
    "db_password",
    "private-key",
    "access_token",
]


@BUDGET
@given(
    st.sampled_from(SECRET_KEYS),
    st.sampled_from(
        ["", "server.", "issuers.0.", "issuers.0.jwks.", "routes.0.", "routes.0.match.", "attributes.sources.2."]
    ),
    st.sampled_from([SECRET, [SECRET], {SECRET: 1}, {"a": {"b": SECRET}}, f"https://u:{SECRET}@x", SECRET + "'\"\\"]),
    st.sampled_from(["issuers.0.jwks.url", "server.listen", "routes.0.match.hosts", "environment", "issuers.0.issuer"]),
)
def test_messages_never_hold_a_secret(key, where, value, also):
    copy = value if isinstance(value, str) else SECRET
    changes = {f"{where}{key}": value, also: [copy] if also.endswith("hosts") else copy}
    with pytest.raises(ConfigError) as caught:
        load_text(changed(changes))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
