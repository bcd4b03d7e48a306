import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.transport import frames
from extauthz.transport.frames import Refused, Status


@given(st.binary(max_size=300))
def test_a_frame_is_read_back(message):
    assert frames.unary(frames.frame(message), 300) == message


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 40))
def test_a_stream_is_read_back_in_any_pieces(messages, step):
    wire = b"".join(map(frames.frame, messages))
    buffer = bytearray()
    found = []
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        while (message := frames.take(buffer, 50)) is not None:
            found.append(message)
    assert found == messages
    assert not buffer


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(body):
    expected = body[5:] if body[:5] == b"\x00\x00\x00\x00" + bytes([max(0, len(body) - 5)]) else None
    try:
        message = frames.unary(body, 20)
    except Refused:
        message = None
    assert message == (expected if expected is not None and len(expected) <= 20 else None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.INTERNAL),
        (b"\x00\x00\x00\x00\x02a", Status.INTERNAL),
        (b"\x00\x00\x00\x00\x01ab", Status.INTERNAL),
        (b"\x02\x00\x00\x00\x00", Status.INTERNAL),
        (b"\x01\x00\x00\x00\x00", Status.UNIMPLEMENTED),
        (b"\x00\x00\x00\x00\x0b" + b"a" * 11, Status.RESOURCE_EXHAUSTED),
        (b"\x00\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
    ],
)
def test_why_a_frame_is_refused(body, status):
    with pytest.raises(Refused) as refused:
        frames.unary(body, 10)
    assert refused.value.status is status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"200m", 0.2),
        (b"1S", 1.0),
        (b"2M", 120.0),
        (b"1H", 3600.0),
        (b"5u", 5e-06),
        (b"7n", 7e-09),
        (b"0m", 0.0),
        (b"", math.inf),
        (b"1", math.inf),
        (b"-1S", math.inf),
        (b"1.5S", math.inf),
        (b"123456789S", math.inf),
    ],
)
def test_the_callers_timeout(value, seconds):
    assert frames.budget(value) == pytest.approx(seconds)


def test_trailers_hold_no_odd_bytes():
    assert frames.trailers(Status.OK) == [(b"grpc-status", b"0")]
    assert frames.trailers(Status.INTERNAL, "é\n%") == [(b"grpc-status", b"13"), (b"grpc-message", b"%C3%A9%0A%25")]
