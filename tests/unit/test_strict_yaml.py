"""Strict YAML: what is read, what is refused, and where."""

from __future__ import annotations

import os

import pytest

from extauthz import strict_yaml
from extauthz.errors import ConfigError
from extauthz.strict_yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, dotted, looks_secret, parse, read


def plain(text: str):
    return parse(text.encode(), "f.yaml").root.plain()


def refused(text: str | bytes):
    with pytest.raises(ConfigError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("On", "On"),
        ("n", "n"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
        ("0b101", "0b101"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
        ("30s", "30s"),
    ],
)
def test_plain_scalars_follow_the_core_schema(written, value):
    found = plain(f"a: {written}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", "the key comes twice, first on line 1"),
        ("x:\n  a: 1\n  'a': 3\n", 3, "x.a", "comes twice"),
        ("x: {a: 1,\n a: 2}", 2, "x.a", "comes twice"),
        ("a: &x 1\n", 1, "a", "anchors"),
        ("a: 1\nb: *x\n", 2, "b", "aliases"),
        ("a:\n  <<: {b: 1}\n", 2, "a", "merge keys"),
        ("a: !!python/object:os.system x\n", 1, "a", "tags"),
        ("a: !!str 5\n", 1, "a", "tags"),
        ("a: [!!set {}]\n", 1, "a[0]", "tags"),
        ("a: 1\n---\nb: 2\n", 2, "", "a second document"),
        ("a: 007\n", 1, "a", "leading zero"),
        ("a: 0755\n", 1, "a", "leading zero"),
        ("a: .inf\n", 1, "a", "not finite"),
        ("a: .NaN\n", 1, "a", "not finite"),
        ("a: 1e999\n", 1, "a", "not finite"),
        ("a: 12345678901234567890\n", 1, "a", "18 digits"),
        ("? {a: 1}\n: 2\n", 1, "", "plain word"),
        ("? [a]\n: 2\n", 1, "", "plain word"),
        ("? *a\n: 2\n", 1, "", "aliases"),
        ("'': 1\n", 1, "", "an empty key"),
        ("- 1\n", 1, "", "a mapping of settings"),
        ("just text\n", 1, "", "a mapping of settings"),
        ("a: [1, 2\nb: 3\n", 2, "", ""),
        ("a: b: c\n", 1, "", ""),
        ("\ta: 1\n", 1, "", ""),
        ('a: "\\0"\n', 1, "a", "control character"),
        ('a: "\\ud800"\n', 1, "a", "surrogate"),
        ("a: \x01\n", 1, "", "does not allow"),
        ("\n\na: %x\n", 3, "", ""),
    ],
)
def test_refused_with_line_and_key(text, line, key, message):
    problem = refused(text)[0]
    assert problem.line == line
    assert message in problem.message
    assert problem.remedy
    assert problem.file == "f.yaml"
    if key:
        assert problem.key.startswith(key)


def test_all_structural_problems_are_told_at_once():
    problems = refused("a: &x 1\nb: 007\na: 2\nc: !t 4\n")
    assert [problem.line for problem in problems] == [1, 2, 3, 4]


def test_bytes_that_are_not_utf8_name_the_line():
    assert refused(b"a: 1\nb: \xff\n")[0].line == 2


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert parse(b"\xef\xbb\xbfa: 1\n", "f").root.plain() == {"a": 1}


def test_utf16_is_refused():
    assert "UTF-8" in refused("a: 1".encode("utf-16"))[0].message


def test_size_is_bounded():
    assert "larger than" in refused(b"#" * (MAX_BYTES + 1))[0].message
    assert plain("#" * (MAX_BYTES - 1)) == {}


@pytest.mark.parametrize("nest", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000, "? " * 200_000])
def test_depth_is_bounded_before_anything_is_built(nest):
    assert refused(nest)


def test_depth_at_the_bound():
    assert plain("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    assert "nested deeper" in refused("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)[0].message


def test_count_is_bounded():
    assert "more than" in refused("a: [" + "1," * (MAX_NODES + 1) + "]")[0].message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n", "--- {}\n"])
def test_nothing_is_an_empty_mapping(text):
    assert plain(text) == {}


def test_lines_of_places():
    tree = parse(b"a:\n  b:\n    - x\n    - c: 1\n\n      d: 2\n", "f")
    assert tree.line(("a",)) == 1
    assert tree.line(("a", "b")) == 2
    assert tree.line(("a", "b", 1)) == 4
    assert tree.line(("a", "b", 1, "d")) == 6
    assert tree.line(("a", "b", "a-union-tag", 1, "d", "nothing-there")) == 6
    assert tree.line(("nothing",)) == 0


def test_digest_is_over_the_bytes():
    one, two = parse(b"a: 1\n", "f"), parse(b"a: 1 \n", "f")
    assert one.digest != two.digest
    assert one.digest == parse(b"a: 1\n", "g").digest
    assert len(one.digest) == 64


def test_block_texts_keep_their_lines():
    assert plain("a: |\n  x\n  yes\n") == {"a": "x\nyes\n"}


def test_places_are_one_printable_line():
    assert dotted(("routes", 2, "token")) == "routes[2].token"
    assert dotted(("trust_domains", "bank.example")) == 'trust_domains["bank.example"]'
    odd = dotted(("a", "x\n\x1b[31m\u202e" + "y" * 500))
    assert odd.isprintable()
    assert odd.isascii()
    assert len(odd) < 120


def test_secret_keys():
    assert all(map(looks_secret, ["password", "api_key", "client-secret", "Authorization", "token", "access_token"]))
    assert not any(map(looks_secret, ["issuer", "bearer_token_file", "tokens_per_second", "audiences", "pinned"]))


def test_a_key_that_was_meant_as_a_secret_is_not_repeated():
    problems = refused("password:\n  hunter2hunter2: 1\n  hunter2hunter2: 2\n")
    assert "hunter2" not in "".join(map(str, problems))


def test_read_takes_regular_files_only(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in (
        (tmp_path, "not a regular file"),
        (fifo, "not a regular file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "nul\0", "not usable"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(path)


def test_read_stops_behind_the_bound(tmp_path):
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (MAX_BYTES + 5000))
    assert len(read(big)) == MAX_BYTES + 1


def test_leaks_of_the_parser_are_refusals(monkeypatch):
    def leak(*_args, **_keywords):
        raise IndexError

    monkeypatch.setattr(strict_yaml.yaml, "parse", leak)
    assert "not YAML" in refused("a: 1")[0].message
