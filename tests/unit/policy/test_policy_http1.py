from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.policy.http1 import MAX_HEAD, Malformed, Response, TooLarge

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Other: \xe9\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"2\r\nhe\r\n3;name=value\r\nllo\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(("text", "status"), [(PLAIN, 200), (CHUNKED, 500)])
def test_a_response_may_come_in_any_pieces(text, status):
    for size in range(1, len(text) + 1):
        response = Response(100)
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert [response.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert (response.status, response.body, response.keep_alive) == (status, b"hello", True)


def test_connection_close_is_told():
    response = Response(100)
    assert response.feed(b"HTTP/1.1 200\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    assert (response.keep_alive, response.body) == (False, b"")


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\n", b"HTTP/1.1 200 OK\r\n content-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: a\nb: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"a" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: trailer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 300, PLAIN + b"x", PLAIN + PLAIN,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    ],
)  # fmt: skip
def test_what_is_not_plainly_right_is_malformed(text):
    with pytest.raises(Malformed):
        Response(100).feed(text)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n65\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n1\r\n",
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(text):
    with pytest.raises(TooLarge):
        Response(100).feed(text)


@given(
    st.lists(
        st.sampled_from([b"HTTP/1.1 200 OK", b"\r\n", b"content-length: ", b"5", b"transfer-encoding: chunked", b"hello", b"0"])
        | st.binary(max_size=8),
        max_size=20,
    ).map(b"".join)
)  # fmt: skip
def test_any_bytes_are_a_response_or_one_of_two_errors(text):
    response = Response(64)
    try:
        whole = response.feed(text)
    except (Malformed, TooLarge):
        return
    assert not whole or (200 <= response.status < 600 and len(response.body) <= 64)
