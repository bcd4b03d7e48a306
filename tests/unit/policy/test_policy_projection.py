from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.errors import ConfigError, EngineFault, MissingPart
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.loader import load
from extauthz.policy.projection import Analysis, analyse, canonical, projector
from extauthz.policy.result import parse
from tests.support.engines import write_policy
from tests.support.parts import require_embedded, require_opa

if TYPE_CHECKING:
    from extauthz.model import Decision

POLICY = """package p

import data.lib

direct if input.a.b == 1

alias if {
	whole := input.a
	whole.c == input.b
}

alias_only_defined if {
	x := input.a
	input.a.b == 1
}

iterated if {
	some one in input.a.b
	one == input.c
}

variable if input.a[input.b] == 1

index if input.a.b[0] == input.c

negated if not input.a.b

through_function if lib.same(input.a.b, input.c)

through_package if lib.rules.one

comprehension if count([x | some x in input.a.b; x == input.c]) > 0

every_one if every x in input.a.b { x == input.c }

lookup if object.get(input, ["a", "b"], 0) == input.c

partial contains name if {
	some name in ["a", "b"]
	input.b == 1
}

reads_partial if "a" in partial

headed := {"allow": input.a.b == 1, "reasons": reasons}

reasons := [] if input.a.b == 1

reasons := [{"code": "role.denied"}] if {
	not input.a.b
	input.c
}

else_chain := true if input.a.b == 1

else_chain := false if input.c == 1

replaced if {
	input.a.b == 1
	answer := data.lib.reads_c with input as input.a
	answer
}

replaced_part if data.lib.reads_c with input.c as input.b

nothing := true

fallback := false if {
	input.zz
	false
} else if input.a.b == 1

some_key[key] := value if some key, value in input.b

reads_key if some_key.b == 1
"""
LIBRARY = """package lib

same(x, y) if x == y

reads_c if input.c == 1
"""
RULES = """package lib.rules

one if input.b == 1

two if input.c == input.a.b
"""
NAMES = [
    "direct", "alias", "alias_only_defined", "iterated", "variable", "index", "negated", "through_function",
    "through_package", "comprehension", "every_one", "lookup", "reads_partial", "headed", "else_chain", "replaced",
    "replaced_part", "nothing", "fallback", "reads_key",
]  # fmt: skip
IMPURE = """package impure

clock if time.now_ns() > 0

token if io.jwt.decode_verify(input.token, {"secret": "x"})[0]

chance if rand.intn("x", 5) == 0

remote if http.send({"url": input.url, "method": "GET"}).status_code == 200

both if { clock; chance }

reaches_clock if data.impure.clock

pure if input.a
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    files = {"p.rego": POLICY, "lib.rego": LIBRARY, "rules.rego": RULES, "impure.rego": IMPURE}
    return load(write_policy(tmp_path_factory.mktemp("policy"), files))


@pytest.fixture(scope="module")
def report(policy):
    entrypoints = [f"p/{name}" for name in NAMES]
    entrypoints += [f"impure/{n}" for n in ("clock", "token", "chance", "remote", "both", "reaches_clock", "pure")]
    return analyse(require_opa(), policy, [*entrypoints, "p/missing", "missing"])


@pytest.fixture(scope="module")
def loaded(policy):
    made = LoadedPolicy(require_embedded(), policy)
    yield made
    made.free()


@pytest.mark.opa
@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("direct", {"a.b"}),
        ("alias", {"a.c", "b"}),
        ("iterated", {"a.b", "c"}),
        ("variable", {"a", "b"}),
        ("index", {"a.b", "c"}),
        ("negated", {"a.b"}),
        ("through_function", {"a.b", "c"}),
        ("through_package", {"b"}),
        ("every_one", {"a.b", "c"}),
        ("lookup", {""}),
        ("headed", {"a.b", "c"}),
        ("replaced", {""}),  # `opa deps` says a.b and c: it misses a.c, which is read through `with`
        ("replaced_part", {"b", "c"}),
        ("nothing", set()),
    ],
)
def test_the_analysis_finds_what_can_be_read(report, name, paths):
    assert {".".join(path) for path in report.analyses[f"p/{name}"].paths} == paths


@pytest.mark.opa
def test_rules_that_are_not_there_are_told(report):
    assert report.analyses["p/direct"].defined
    assert not report.analyses["p/missing"].defined
    assert not report.analyses["missing"].defined


@pytest.mark.opa
@pytest.mark.parametrize(
    ("name", "builtins", "cap"),
    [
        ("clock", ("time.now_ns",), 1.5),
        ("reaches_clock", ("time.now_ns",), 1.5),
        ("token", ("io.jwt.decode_verify",), 1.5),
        ("chance", ("rand.intn",), 0),
        ("remote", ("http.send",), 0),
        ("both", ("rand.intn", "time.now_ns"), 0),
        ("pure", (), math.inf),
    ],
)
def test_builtins_that_are_not_functions_bound_the_reuse(report, name, builtins, cap):
    analysis = report.analyses[f"impure/{name}"]
    assert analysis.nondeterministic == builtins
    assert analysis.ttl_cap(1.5) == cap
    assert analysis.cacheable == (cap > 0)


@pytest.mark.opa
@pytest.mark.embedded
def test_tool_and_library_say_the_same(report, loaded):
    described = loaded.describe(report.analyses)
    assert described == report


def decision(loaded: LoadedPolicy, entrypoint: str, document: bytes) -> Decision | str:
    import ctypes  # noqa: PLC0415 - the only place

    try:
        out = ctypes.create_string_buffer(65536)
        return parse(orjson.loads(loaded.evaluate(entrypoint.encode(), document, 5.0, out)))
    except EngineFault as fault:
        return fault.code


KEYS = st.sampled_from(["a", "b", "c", "d", "zz"])
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, "a", "b", "c"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


@pytest.mark.opa
@pytest.mark.embedded
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS)
def test_the_projection_decides_as_the_whole_input(report, loaded, document):
    for name in NAMES:
        entrypoint = f"p/{name}"
        cut = projector(report.analyses[entrypoint])(document)
        assert decision(loaded, entrypoint, cut) == decision(loaded, entrypoint, canonical(document)), (name, document)


@pytest.mark.opa
def test_a_policy_that_does_not_compile_is_told_with_file_and_line(tmp_path):
    root = write_policy(tmp_path, {"sub/bad.rego": "package bad\n\nx if y\n"})
    with pytest.raises(ConfigError) as caught:
        analyse(require_opa(), load(root))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(root.resolve() / "sub" / "bad.rego"), 3)
    assert "rego_unsafe_var_error" in problem.message


@pytest.mark.opa
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.rego": "package a\n\nx := {\n"}, "rego_parse_error"),
        ({"a.rego": "nothing"}, "rego_parse_error"),
        ({"a.rego": "package a\n", "data.json": "{"}, ""),
        ({"a.rego": "package a.b\n\nc := 1\n", "a/b/data.json": '{"c": 2}'}, "conflict"),
    ],
)
def test_broken_policies_are_refused(tmp_path, files, message):
    with pytest.raises(ConfigError) as caught:
        analyse(require_opa(), load(write_policy(tmp_path, files)))
    assert message in str(caught.value)


def test_a_tool_that_is_not_ours_is_a_missing_part(policy, tmp_path):
    other = tmp_path / "opa"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    for tool in (other, tmp_path / "none"):
        with pytest.raises(MissingPart) as caught:
            analyse(tool, policy)
        assert "make native" in caught.value.remedy


def cut(paths, document) -> str:
    return projector(Analysis("e", tuple(map(tuple, paths))))(document).decode()


def test_the_projection_keeps_paths_in_one_order():
    document = {"b": {"y": 1, "x": {"q": 1, "p": 2}}, "a": 1, "c": 2}
    assert cut([["b", "x"], ["a"]], document) == '{"a":1,"b":{"x":{"p":2,"q":1}}}'
    assert cut([["a"], ["b", "x"]], dict(reversed(document.items()))) == '{"a":1,"b":{"x":{"p":2,"q":1}}}'


def test_the_projection_keeps_what_is_on_the_way_to_a_path():
    assert cut([["a", "b"]], {"a": {"c": 1}}) == '{"a":{}}'
    assert cut([["a", "b"]], {"a": [1]}) == '{"a":[1]}'
    assert cut([["a", "b"]], {"a": None}) == '{"a":null}'
    assert cut([["a", "b"]], {"c": 1}) == "{}"
    assert cut([], {"c": 1}) == "{}"
    assert cut([[]], {"c": 1}) == '{"c":1}'


def test_canonical_json_takes_all_of_json_and_nothing_else():
    assert canonical({"b": 2**70, "a": 1.5}) == b'{"a":1.5,"b":1180591620717411303424}'
    for value in ({1, 2}, object(), {"a": {1: {2}}}):
        with pytest.raises(EngineFault) as caught:
            canonical({"a": value})
        assert caught.value.code == "engine.internal"
