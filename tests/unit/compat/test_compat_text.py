"""Text as Go reads it, where the table does not reach: bytes, bounds, and that nothing but `Unreadable` comes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.check.compat import go_text, json_text, multipart
from extauthz.check.compat.go_text import Unreadable
from extauthz.errors import EngineFault

PIECES = st.lists(
    st.sampled_from(
        ["--b", "--b--", "\r\n", "\n", "-", " ", "Content-Disposition: form-data; name=a", "X: y", ":", "{", "=C3", "é"]
    ),
    max_size=24,
).map("".join)


def test_each_byte_that_is_no_utf8_is_one_replacement():
    assert go_text.text(b"a\xe2\x82b\xff\xc3\xa9") == "a\ufffd\ufffdb\ufffdé"


def test_a_query_has_at_most_ten_thousand_parameters():
    assert len(go_text.query("&".join(["a=1"] * 10_000))["a"]) == 10_000
    with pytest.raises(Unreadable, match="too many"):
        go_text.query("&".join(["a=1"] * 10_001))


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("+7", 7), ("-1", -1), ("0012", 12), (str(2**63 - 1), 2**63 - 1)]
)
def test_whole_numbers(text, number):
    assert go_text.whole_number(text) == number


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1_0", "0x1", "1.0", "٣", str(2**63), "9" * 5000, "+"])
def test_no_whole_numbers(text):
    with pytest.raises(Unreadable):
        go_text.whole_number(text)


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        ("multipart/form-data", "multipart/form-data", {}),
        ("Multipart/Form-Data; Boundary=aB", "multipart/form-data", {"boundary": "aB"}),
        ('form-data; name="a \\"b\\" c:\\x"', "form-data", {"name": 'a "b" c:\\x'}),
        ("form-data ; name = a ;", "form-data", {"name": "a"}),
        ("form-data; name=a; name=a", "form-data", {"name": "a"}),
        ('form-data; name=""', "form-data", {"name": ""}),
    ],
)
def test_media_types(value, kind, parameters):
    assert go_text.media_type(value) == (kind, parameters)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ";",
        "a b",
        "a/",
        "/b",
        "a/b/c",
        "a; b",
        "a; b=",
        'a; b="c',
        "a; b=c d",
        "a; b=c; b=d",
        'a; b="c\r\nd"',
        "é; a=b",
    ],
)
def test_no_media_types(value):
    with pytest.raises(Unreadable):
        go_text.media_type(value)


@pytest.mark.parametrize(
    "text", ["1.10", "1e400", "-0.0", "12345678901234567890", "1E+2", "0.1", "100000000000000000000.5"]
)
def test_a_number_is_written_as_it_was_read(text):
    assert json_text.encode(json_text.parse(f"[{text}]")) == f"[{text}]".encode()


def test_numbers_are_equal_by_their_text():
    assert json_text.Number("1.10") == json_text.Number("1.10") != json_text.Number("1.1")
    assert len({json_text.Number("1.10"), json_text.Number("1.10")}) == 1
    assert "1.10" in repr(json_text.Number("1.10"))


def test_nesting_is_bounded_before_anything_is_built():
    deepest = json_text.parse("[" * json_text.MAX_DEPTH + "]" * json_text.MAX_DEPTH)
    assert json_text.encode({"parsed_body": {"a": [deepest]}})
    for depth in (json_text.MAX_DEPTH + 1, 100_000):
        with pytest.raises(Unreadable, match="deeper"):
            json_text.parse("[" * depth + "]" * depth)


def test_what_is_no_json_is_a_fault_and_not_a_document():
    with pytest.raises(EngineFault) as caught:
        json_text.encode({"a": object()})
    assert caught.value.code == "engine.internal"


def test_a_null_after_the_document_is_refused():
    """The plugin takes `{"a":1}null` and whatever follows: what an upstream makes of that is not what is judged."""
    with pytest.raises(Unreadable):
        json_text.parse('{"a":1}null{"a":2}')


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_unreadable(text):
    for read in (json_text.parse, go_text.query, go_text.path_unescape, go_text.media_type):
        try:
            found = read(text)
        except Unreadable:
            continue
        assert found is None or json_text.encode(found) is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_unreadable(raw):
    try:
        found = json_text.parse(raw)
    except Unreadable:
        return
    json_text.encode(found)


@given(PIECES)
def test_any_multipart_body_is_parts_or_unreadable(text):
    payload = text.encode()
    try:
        found = list(multipart.parts(payload, "b"))
    except Unreadable:
        return
    assert sum(len(content) for _, _, content in found) <= len(payload)


def test_a_long_multipart_body_takes_linear_work():
    part = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--bx\r\n--by\r\n"
    assert len(list(multipart.parts(part * 20_000 + b"--b--", "b"))) == 20_000


def test_a_part_with_endless_headers_is_refused():
    with pytest.raises(Unreadable, match="too many headers"):
        list(multipart.parts(b"--b\r\n" + b"X: y\r\n" * 10_001, "b"))


def test_folded_and_repeated_part_headers():
    head = b"--b\r\nX: 1\r\nContent-Disposition: form-data;\r\n name=a\r\nContent-Disposition: form-data; name=z\r\n folded\r\n"
    assert list(multipart.parts(head + b"\r\n1\r\n--b--", "b")) == [("a", "", b"1")]
    with pytest.raises(Unreadable, match="malformed"):
        list(multipart.parts(b"--b\r\n folded\r\n\r\n1\r\n--b--", "b"))


@pytest.mark.parametrize(
    "value", ["a;" + " " * 200_000 + "x", "a; b=" + "c" * 200_000 + "(", 'a; b="' + "\\" * 200_001]
)
def test_a_long_media_type_takes_linear_work(value):
    with pytest.raises(Unreadable):
        go_text.media_type(value)


def test_a_long_quoted_printable_part_takes_linear_work():
    head = b"--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ((_, _, content),) = multipart.parts(head + b"a" + b" " * 500_000 + b"b \t\r\nc \r\n--b--", "b")
    assert content == b"a" + b" " * 500_000 + b"b\r\nc"


def test_bytes_that_are_no_utf8_take_linear_work():
    assert go_text.text(b"\xff" * 1_000_000 + b"\xe2a" * 500_000) == "\ufffd" * 1_000_000 + "\ufffda" * 500_000
