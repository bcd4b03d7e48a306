import pytest

from extauthz.check import wire
from extauthz.check.messages import CheckRequest
from extauthz.model import Request
from tests.support.checks import PRINCIPAL, check_request, parsed, refused


def test_every_part_of_the_request_arrives():
    request = parsed(
        "POST",
        "/v1/transfers/T-1?dry=1&x=%2F",
        headers={"content-type": "application/json", ":authority": "api.bank.example"},
        body='{"amount": 12}',
        extensions={"route": "create-transfer"},
    )
    assert (request.id, request.method, request.scheme, request.host) == ("1", "POST", "https", "api.bank.example")
    assert (request.path, request.query, request.protocol) == ("/v1/transfers/T-1", "dry=1&x=%2F", "HTTP/2")
    assert request.headers == {"content-type": "application/json", ":authority": "api.bank.example"}
    assert request.body == b'{"amount": 12}'
    assert not request.body_truncated
    assert request.principal == PRINCIPAL
    assert request.source_address == "10.0.0.7"
    assert request.context_extensions == {"route": "create-transfer"}
    assert request.duplicated_headers == frozenset()


def test_a_missing_header_is_missing_and_reading_it_adds_none():
    request = parsed(headers={"a": "1"})
    with pytest.raises(KeyError):
        request.headers["authorization"]
    assert request.headers.get("authorization") is None
    assert dict(request.headers) == {"a": "1"}


def test_raw_headers_are_read_joined_and_counted():
    request = parsed(
        raw_headers=[
            ("Accept", b"a"),
            ("accept", b"b"),
            ("authorization", b"Bearer x"),
            ("x-name", "é".encode()),
            ("x-odd", b"\xff"),
        ]
    )
    assert request.headers == {"accept": "a,b", "authorization": "Bearer x", "x-name": "é", "x-odd": "\xff"}
    assert request.duplicated_headers == {"accept"}


def test_header_map_values_may_come_as_text():
    message = CheckRequest.FromString(check_request())
    message.attributes.request.http.header_map.headers.add(key="x-a", value="1")
    request = wire.parse(message.SerializeToString())
    assert isinstance(request, Request)
    assert request.headers == {"x-a": "1"}


@pytest.mark.parametrize(("field", "value"), [("body", "text"), ("raw_body", b"text")])
def test_the_body_comes_as_text_or_as_bytes(field, value):
    assert parsed("POST", **{field: value}).body == b"text"


def test_envoy_says_that_a_body_is_cut():
    assert parsed("POST", headers={"x-envoy-auth-partial-body": "true"}, body="te").body_truncated
    assert not parsed("POST", headers={"x-envoy-auth-partial-body": "false"}, body="te").body_truncated


def test_a_unix_peer_has_its_path_as_address():
    message = CheckRequest.FromString(check_request())
    message.attributes.source.address.pipe.path = "/run/app.sock"
    request = wire.parse(message.SerializeToString())
    assert isinstance(request, Request)
    assert request.source_address == "/run/app.sock"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/",
        "/v1/accounts/7",
        "/a.b/c-d_e~f",
        "/pkg.Service/Method",
        "/a%20b",
        "/caf%C3%A9",
        "/100%25",
        "/a:cancel",
        "/@me",
        "/a/...",
        "/a,b/(c)/$d/'e'/!f/*/+g/=h/&i",
        "/.well-known/x",
        "/..a",
    ],
)
def test_paths_with_one_reading_are_accepted_as_they_are(path):
    assert parsed(path=path).path == path


def test_options_may_ask_the_server_as_a_whole():
    assert parsed("OPTIONS", "*").path == "*"
    assert refused(check_request("GET", "*")).code == "request.path_ambiguous"


def test_a_method_may_be_unknown_but_not_odd():
    assert parsed("PROPFIND").method == "PROPFIND"
    for method in ("", "get", "GET /", "G\nT", "X" * 33):
        assert refused(check_request(method)).code == "request.malformed"


def test_unknown_fields_are_skipped():
    unknown = b"\xba\x3e\x03abc"  # field 999, length-delimited
    request = wire.parse(check_request() + unknown)
    assert isinstance(request, Request)
    assert request.path == "/v1/accounts/7"


@pytest.mark.parametrize(
    "message",
    [
        check_request(path="/" + "a" * wire.MAX_PATH),
        check_request(path="/?" + "a" * wire.MAX_PATH),
        check_request(headers={f"x-{i}": "" for i in range(wire.MAX_HEADERS + 1)}),
        check_request(raw_headers=[(f"x-{i}", b"abcdefghijklmnopqrstuvwxyz") for i in range(wire.MAX_HEADERS + 1)]),
        check_request(headers={"x": "v" * wire.MAX_HEADER_BYTES}),
        check_request(raw_headers=[("x", b"v" * wire.MAX_HEADER_BYTES)]),
        check_request(extensions={f"e{i}": "v" * 128 for i in range(wire.MAX_EXTENSIONS + 1)}),
        check_request(host="h" * (wire.MAX_NAME + 1)),
    ],
)
def test_what_is_out_of_bounds_is_refused(message):
    assert refused(message).code == "request.too_large"


def test_what_is_just_in_bounds_is_not():
    assert parsed(path="/" + "a" * (wire.MAX_PATH - 1), body="b" * 1_000_000).method == "GET"
    assert len(parsed(headers={f"x-{i}": "v" * 200 for i in range(wire.MAX_HEADERS)}).headers) == wire.MAX_HEADERS


@pytest.mark.parametrize("raw", [[("host", b"a"), ("host", b"b")], [("host", b"a"), (":authority", b"a")]])
def test_two_hosts_are_refused(raw):
    assert refused(check_request(raw_headers=raw)).code == "request.header_duplicated"
