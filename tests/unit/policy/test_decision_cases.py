"""Decision cases: read with positions, judged strictly, run on a real policy and with other data."""

from __future__ import annotations

import json

import pytest

from extauthz.errors import ConfigError, EngineFault
from extauthz.model import Allow, Deny, Obligations, Reason
from extauthz.policy.case_files import is_case_file, load_cases, read_cases
from extauthz.policy.cases import Case, Expected, judge, run_cases, run_cases_later

HEAD = "version: 1\nentrypoint: a/b\ncases:\n"


def cases(text, **files):
    given = {"cases.yaml": (HEAD + text).encode(), **{name: data.encode() for name, data in files.items()}}
    return read_cases(["cases.yaml"], given.__getitem__)


def problems(text, **files):
    with pytest.raises(ConfigError) as refused:
        cases(text, **files)
    return [str(one) for one in refused.value.problems]


def case(expected):
    return Case("c", "cases.yaml", 4, "a/b", {}, expected)


def denied(*codes):
    return Deny(tuple(Reason(code) for code in codes))


def test_every_part_is_read():
    (one,) = cases(
        "  first:\n    entrypoint: x/y\n    input: {a: {b: 1, c: 2}}\n    change: {a.b: 5, d.e: [x]}\n"
        "    remove: [a.c]\n    data: {limits: {clerk: 7}}\n    expect: {layer: role, code: role.x, codes: [role.x]}\n"
    )
    assert (one.name, one.line, one.entrypoint) == ("first", 4, "x/y")
    assert one.input == {"a": {"b": 5}, "d": {"e": ["x"]}}
    assert one.data == {"limits": {"clerk": 7}}
    assert one.expected == Expected(allow=False, layer="role", code="role.x", codes=("role.x",))
    assert json.loads(one.document) == one.input


def test_allow_with_obligations_and_an_input_of_a_file():
    (one,) = cases(
        "  a:\n    input: in.json\n    expect: allow\n    mask: [iban]\n    headers: {x-a: b}\n",
        **{"in.json": '{"k": 1}'},
    )
    assert one.input == {"k": 1}
    assert one.expected == Expected(allow=True, mask=("iban",), headers={"x-a": "b"})


def test_a_changed_file_leaves_other_cases_alone():
    text = "  a: {input: in.json, change: {k: 2}, expect: allow}\n  b: {input: in.json, expect: allow}\n"
    first, second = cases(text, **{"in.json": '{"k": 1}'})
    assert (first.input, second.input) == ({"k": 2}, {"k": 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  a: {input: {}}\n", "cases.yaml:4: cases.a: `expect` is missing"),
        ("  a: {expect: allow}\n", "`input` is missing"),
        ("  a: {input: {}, expect: allow, inputs: 1}\n", "cases.a.inputs: unknown key"),
        ("  a: {input: {}, expect: deny}\n", "neither `allow` nor a code"),
        ("  a: {input: {}, expect: request.malformed}\n", "neither `allow` nor a code"),
        ("  a: {input: {}, expect: {layer: cloud}}\n", "no such layer"),
        ("  a: {input: {}, expect: {code: X}}\n", "neither `allow` nor a code"),
        ("  a: {input: {}, expect: {}}\n", "not understood"),
        ("  a: {input: {}, expect: role.x, mask: [a]}\n", "a denial has no obligations"),
        ("  a: {input: ../x.json, expect: allow}\n", "not below this one"),
        ("  a: {input: /x.json, expect: allow}\n", "not below this one"),
        ("  a: {input: gone.json, expect: allow}\n", "gone.json cannot be read"),
        ("  a: {input: {}, remove: [k], expect: allow}\n", "the input has no k"),
        ("  a: {input: {k: 1}, change: {k.l: 2}, expect: allow}\n", "leads through something that is no object"),
        ("  a: {input: {}, data: 3, expect: allow}\n", "a mapping is expected"),
        ("  a: {input: {}, expect: allow, mask: iban}\n", "a list of texts is expected"),
        ("  a: {entrypoint: data.a, input: {}, expect: allow}\n", "this is no entrypoint"),
        ("  a: 3\n", "a mapping is expected"),
        ("  a: {input: {}, expect: allow}\n  a: {input: {}, expect: allow}\n", "the key comes twice"),
    ],
)
def test_a_wrong_case_is_told_with_its_line(text, said):
    assert any(said in one and one.startswith("cases.yaml:") for one in problems(text))


def test_an_input_file_is_strict_json():
    said = problems("  a: {input: in.json, expect: allow}\n", **{"in.json": '{"a": 1, "a": 2}'})
    assert "in.json is not strict JSON" in said[0]


def test_every_wrong_case_is_told():
    assert len(problems("  a: {input: {}}\n  b: {expect: allow}\n  c: {input: {}, expect: allow}\n")) == 2


@pytest.mark.parametrize(
    "text", ["cases: {a: {input: {}, expect: allow}}\n", "version: 2\ncases: {}\n", "[]\n", "version: 1\n"]
)
def test_a_file_that_is_no_case_file(text):
    with pytest.raises(ConfigError):
        read_cases(["cases.yaml"], lambda _: text.encode())


def test_files_are_found_by_name(tmp_path):
    assert [is_case_file(name) for name in ("cases.yaml", "a/b_cases.yaml", "mycases.yaml", "cases.yml")] == [
        True,
        True,
        False,
        False,
    ]
    for name in ("cases.yaml", "deep/x_cases.yaml", ".hidden/cases.yaml", "data.yaml"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(HEAD + f"  {name.partition('.')[0].replace('/', '_') or 'h'}: {{input: {{}}, expect: allow}}\n")
    assert [one.name for one in load_cases(tmp_path)] == ["cases", "deep_x_cases"]
    assert [one.name for one in load_cases(tmp_path / "cases.yaml")] == ["cases"]


@pytest.mark.parametrize(
    ("expected", "decision", "said"),
    [
        (Expected(allow=True), Allow(), ""),
        (Expected(allow=True), denied("role.x"), "expected allow, got deny role.x"),
        (Expected(allow=False, code="role.x"), Allow(), "expected deny role.x, got allow"),
        (Expected(allow=False, code="role.x"), denied("role.x", "role.y"), ""),
        (
            Expected(allow=False, code="role.y"),
            denied("role.x", "role.y"),
            "expected code role.y, got deny role.x and 1 more",
        ),
        (
            Expected(allow=False, codes=("role.x",)),
            denied("role.x", "role.y"),
            "expected codes [role.x], got [role.x, role.y]",
        ),
        (Expected(allow=False, layer="attribute"), denied("role.x"), "expected layer attribute"),
        (Expected(allow=True, mask=("b", "a")), Allow(Obligations(mask=("a", "b"))), ""),
        (Expected(allow=True, mask=()), Allow(Obligations(mask=("a",))), "expected mask [], got [a]"),
        (Expected(allow=True, headers={"x": "1"}), Allow(Obligations(headers=(("x", "2"),))), "or other values"),
        (Expected(allow=True, metadata={"a": [1]}), Allow(Obligations(metadata={"a": (1,)})), ""),
        (Expected(allow=True, metadata={}), Allow(Obligations(metadata={"a": 1})), "expected metadata [], got [a]"),
    ],
)
def test_judging(expected, decision, said):
    result = judge(case(expected), decision)
    assert result.passed == (not said)
    assert said in "; ".join(result.problems)


async def test_a_fault_is_judged_as_its_code():
    def broken(entrypoint, document):
        raise EngineFault("engine.undefined", entrypoint)

    async def broken_later(entrypoint, document):
        return broken(entrypoint, document)

    wanted = case(Expected(allow=False, code="engine.undefined"))
    allowed = case(Expected(allow=True))
    assert [one.passed for one in run_cases(broken, [wanted, allowed])] == [True, False]
    assert [one.passed for one in await run_cases_later(broken_later, [wanted, allowed])] == [True, False]
    assert "engine.undefined" in str(run_cases(broken, [allowed])[0])
