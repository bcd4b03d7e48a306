"""The extension that names a certificate's predecessors: strict, bounded, never a crash."""

from __future__ import annotations

import base64
import datetime as dt
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.keys import successor

KEY = ec.generate_private_key(ec.SECP256R1())
DIGESTS = tuple(os.urandom(32) for _ in range(8))


def certificate(*extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    start = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([]), x509.Name([]), KEY.public_key(), 7, start, start + dt.timedelta(hours=1)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(KEY, hashes.SHA256())


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8, unique=True))
def test_what_is_written_is_read(digests: list[bytes]) -> None:
    assert successor.decode(successor.encode(digests)) == successor.Predecessors(tuple(digests))


@pytest.mark.parametrize("count", range(1, 9))
def test_it_is_der(count: int) -> None:
    value = successor.encode(DIGESTS[:count])
    content = b"".join(b"\x04\x20" + digest for digest in DIGESTS[:count])
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2)
    assert value == b"\x30" + length + content


@given(st.binary(max_size=600))
@example(b"")
@example(b"\x30\x00")
@example(successor.encode(DIGESTS) + b"\x04\x20" + bytes(32))
def test_anything_else_is_a_reason_and_no_crash(value: bytes) -> None:
    read = successor.decode(value)
    assert read.digests == ()
    assert read.problem


@given(st.data())
def test_one_changed_byte_of_the_frame_is_refused(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    value = bytearray(successor.encode(DIGESTS[:count]))
    head = len(value) - count * 34
    at = data.draw(st.sampled_from([*range(head), *(head + n * 34 + k for n in range(count) for k in (0, 1))]))
    value[at] ^= data.draw(st.integers(1, 255))
    assert successor.decode(bytes(value)).problem


@pytest.mark.parametrize(
    "value",
    [
        b"\x30\x81\x22\x04\x20" + DIGESTS[0],  # a length longer than it need be
        b"\x30\x80\x04\x20" + DIGESTS[0] + b"\x00\x00",  # indefinite
        successor.encode(DIGESTS[:1]) + b"\x00",
        b"\x31\x22\x04\x20" + DIGESTS[0],
        b"\x30\x22\x24\x20" + DIGESTS[0],
        b"\x30\x82\x01\x32" + b"".join(b"\x04\x20" + bytes([n]) * 32 for n in range(9)),
    ],
)
def test_other_encodings_are_refused(value: bytes) -> None:
    assert successor.decode(value).digests == ()


def test_a_certificate_named_twice_is_refused() -> None:
    assert "twice" in successor.decode(successor.encode([DIGESTS[0], DIGESTS[0]])).problem


@pytest.mark.parametrize("digests", [[], [b"x" * 31], [bytes([n]) * 32 for n in range(9)]])
def test_only_what_can_be_read_is_written(digests: list[bytes]) -> None:
    with pytest.raises(AssertionError):
        successor.encode(digests)


def test_a_certificate_says_what_it_replaced() -> None:
    read = successor.read(certificate((successor.extension(DIGESTS[:2]), False)))
    assert read.digests == DIGESTS[:2]
    assert read.thumbprints == tuple(base64.urlsafe_b64encode(d).rstrip(b"=").decode() for d in DIGESTS[:2])


def test_a_certificate_without_the_extension_has_no_predecessors_and_no_problem() -> None:
    assert successor.read(certificate()) == successor.NONE


def test_a_critical_or_malformed_extension_is_ignored_with_a_reason() -> None:
    assert "critical" in successor.read(certificate((successor.extension(DIGESTS[:2]), True))).problem
    garbage = x509.UnrecognizedExtension(successor.OID, b"\x30\x05hello")
    assert successor.read(certificate((garbage, False))).problem


def test_a_certificate_whose_extensions_cannot_be_read_has_none() -> None:
    broken = x509.UnrecognizedExtension(x509.ExtensionOID.KEY_USAGE, b"\xff\xff")
    read = successor.read(certificate((broken, False), (successor.extension(DIGESTS[:1]), False)))
    assert read.digests == ()
    assert "cannot be read" in read.problem
