"""Attacks on the Authorization header: SECURITY-TESTS B 2."""

from __future__ import annotations

import pytest

from extauthz.authn.extract import bearer
from tests.support.certs import assert_denied, peer_request

pytestmark = pytest.mark.attack


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param("Bearer a.b.c, Bearer d.e.f", "request.header_duplicated", id="B02-joined"),
        pytest.param("Bearer a.b.c,Bearer d.e.f", "request.header_duplicated", id="B02-joined-tight"),
        pytest.param("Basic dTpw, Bearer a.b.c", "request.header_duplicated", id="B02-mixed-schemes"),
        pytest.param("Bearer a.b.c, Basic dTpw", "request.header_duplicated", id="B02-mixed-schemes-last"),
        pytest.param("Bearer a.b.c,", "request.header_duplicated", id="B02-trailing-comma"),
        pytest.param('Digest username="x", realm="y"', "request.header_duplicated", id="B02-parameters"),
        pytest.param("Basic dTpw", "token.scheme", id="B02-basic"),
        pytest.param("DPoP a.b.c", "token.scheme", id="B02-dpop"),
        pytest.param("Bearertoken", "token.scheme", id="B02-glued"),
        pytest.param("a.b.c", "token.scheme", id="B02-no-scheme"),
        pytest.param("Bearer", "token.missing", id="B02-bare"),
        pytest.param("Bearer ", "token.missing", id="B02-empty"),
        pytest.param("", "request.header_malformed", id="B02-empty-header"),
        pytest.param(" ", "request.header_malformed", id="B02-space"),
        pytest.param(" Bearer a.b.c", "request.header_malformed", id="B02-leading-space"),
        pytest.param("Bearer a.b.c ", "request.header_malformed", id="B02-trailing-space"),
        pytest.param("Bearer  a.b.c", "request.header_malformed", id="B02-two-spaces"),
        pytest.param("Bearer\ta.b.c", "request.header_malformed", id="B02-tab"),
        pytest.param("Bearer a.b.c\r\nx-extauthz-subject: root", "request.header_malformed", id="B02-crlf"),
        pytest.param("Bearer a.b.c\n", "request.header_malformed", id="B02-newline"),
        pytest.param("Bearer a.b\x00.c", "request.header_malformed", id="B02-nul"),
        pytest.param("Bearer a.b.c\x7f", "request.header_malformed", id="B02-del"),
        pytest.param("Bearer \u00e9.b.c", "request.header_malformed", id="B02-latin1"),
        pytest.param("Bearer \ud800", "request.header_malformed", id="B02-surrogate"),
        pytest.param("Bearer a b", "token.malformed", id="B02-two-words"),
        pytest.param('Bearer "a.b.c"', "token.malformed", id="B02-quoted"),
        pytest.param('Bearer {"payload":"x"}', "token.malformed", id="B02-json"),
        pytest.param("Bearer " + "a" * 8193, "token.too_large", id="B02-huge"),
        pytest.param("x" * 100_000, "token.too_large", id="B02-huge-junk"),
    ],
)
def test_header(value: str, code: str) -> None:
    assert_denied(bearer(peer_request(headers={"authorization": value})), code)


def test_b02_two_headers() -> None:
    request = peer_request(headers={"authorization": "Bearer a.b.c"}, duplicated=["authorization"])
    assert_denied(bearer(request), "request.header_duplicated")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_one_token(scheme: str) -> None:
    assert bearer(peer_request(headers={"authorization": f"{scheme} a.b.c"})) == "a.b.c"


def test_no_header() -> None:
    assert bearer(peer_request(headers={"x-authorization": "Bearer a.b.c"})) is None
