"""The chain without files: whatever lines are handed in, what comes back is a report, and it tells every change."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from extauthz.audit.chain import GENESIS, Chain, Sealed, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.key import AuditKey, PublicKeys
from extauthz.audit.scan import Report, Scanner

KEY: Final = AuditKey(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
KEYS: Final = PublicKeys([KEY.jwk])


def chain() -> list[bytes]:
    """Twelve records with their newlines; the seventh is a checkpoint."""
    made = Chain("serve-0")
    opened = b'"event":"chain.opened","timestamp":"","previous":{"seq":0,"chain":"%b"}' % GENESIS
    lines = [made.sealed(opened)]
    for number in range(11):
        body = b'"event":"decision.allowed","timestamp":"","n":%d' % number
        if number == 5:
            signed = Signed.by(KEY, "serve-0", made.seq, made.tip)
            body = (
                b'"event":"chain.checkpoint","timestamp":"","signed":{"seq":%d,"chain":"%b","kid":"%b","signature":"%b"}'
                % (signed.seq, signed.chain.encode(), signed.kid.encode(), signed.signature.encode())
            )
        lines.append(made.sealed(body))
    return lines


LINES: Final = chain()
WHOLE: Final = b"".join(LINES)


def scanned(content: bytes) -> Report:
    scanner = Scanner("f", "serve-0", KEYS, {12})
    *lines, rest = content.split(b"\n")
    scanner.feed(lines)
    return scanner.finish(rest)


def sound(report: Report) -> bool:
    """As whoever joins files sees it: all of it is there, and nothing else."""
    wanted = Sealed.of(LINES[-1])
    assert wanted is not None
    end = (report.previous, report.found.get(12), report.seq) == ((0, GENESIS.decode()), wanted.chain.decode(), 12)
    return end and not report.problems and not report.fragments


def test_what_was_chained_is_sound() -> None:
    report = scanned(WHOLE)
    assert sound(report), report
    assert (report.records, report.checkpoints) == (12, 1)


@given(
    at=st.integers(0, len(WHOLE)),
    length=st.integers(0, 300),
    put=st.one_of(st.binary(max_size=200), st.sampled_from([b"\n", b"{", b'"', *LINES])),
)
def test_any_change_is_found(at: int, length: int, put: bytes) -> None:
    changed = WHOLE[:at] + put + WHOLE[at + length :]
    assert sound(scanned(changed)) == (changed == WHOLE)


@given(order=st.permutations(range(12)), kept=st.integers(0, 12))
def test_any_order_but_one_is_found(order: list[int], kept: int) -> None:
    content = b"".join(LINES[number] for number in order[:kept])
    assert sound(scanned(content)) == (content == WHOLE)


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from(LINES)), max_size=30))
def test_anything_is_a_report(parts: list[bytes]) -> None:
    content = b"\n".join(parts)
    assert sound(scanned(content)) == (content == WHOLE)


@given(st.one_of(st.binary(max_size=400), st.builds(lambda text: b'{"writer":' + text + b"}", st.binary(max_size=50))))
def test_anything_is_a_head_or_our_one_error(content: bytes) -> None:
    try:
        Signed.read(content)
    except AuditError:
        return
    raise AssertionError(content)


def test_a_head_is_read_back() -> None:
    signed = Signed.by(KEY, "serve-0", 12, LINES[-1][-67:-3])
    assert Signed.read(signed.head()) == signed
    assert signed.wrong(KEYS) == ""
