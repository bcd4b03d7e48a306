"""W3C Trace Context, level 1: what is read, what is as if it had not come, and what goes on."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.telemetry import trace_context
from extauthz.telemetry.trail import Trail
from tests.support.attribute_questions import request

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"


def seen(header: str | None) -> Trail:
    made = Trail(0.0)
    made.describe(request(b"", {} if header is None else {"traceparent": header}))
    made.trace()
    return made


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (HEADER, True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-fe", False),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"01-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", True),
    ],
)
def test_what_the_caller_says_is_continued(header: str, sampled: bool) -> None:
    made = seen(header)
    assert (made.trace_id, made.parent_id, made.sampled) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        HEADER[:-1],
        HEADER + "0",
        HEADER + "-",
        f" {HEADER}",
        f"{HEADER}\n",
        f"{HEADER},{HEADER}",
        HEADER.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"01-{TRACE}-{PARENT}-01x",
        f"01-{TRACE}-{PARENT}-01-" + "x" * 300,
        "\u0660\u0660" + HEADER[2:],
    ],
)
def test_what_cannot_be_read_is_as_if_it_had_not_come(header: str | None) -> None:
    made = seen(header)
    assert (made.trace_id, made.parent_id, made.sampled) == (made.decision_id.replace("-", ""), "", False)


@given(st.text(string.hexdigits + "-, \n", max_size=80) | st.text(max_size=300))
def test_any_text_is_a_trace_or_none(header: str) -> None:
    found = trace_context.parse(header)
    if found is not None:
        assert re.fullmatch(r"[0-9a-f]{32}", found[0])
        assert re.fullmatch(r"[0-9a-f]{16}", found[1])


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_continued_can_be_read_again(trace: int, span: int, sampled: bool) -> None:
    made = trace_context.traceparent(f"{trace:032x}", f"{span:016x}", sampled=sampled)
    assert trace_context.parse(made) == (f"{trace:032x}", f"{span:016x}", sampled)


def test_a_check_without_a_trace_starts_one_that_its_decision_id_tells() -> None:
    made = Trail(0.0)
    assert made.trace() == made.decision_id.replace("-", "")
    span = trace_context.span_id(made.decision_id)
    parts = [trace_context.child_id(span, number) for number in range(1, 9)]
    assert len({span, *parts}) == 9
    for one in (span, *parts):
        assert trace_context.parse(trace_context.traceparent(made.trace(), one, sampled=True)) is not None


def test_the_trace_of_a_header() -> None:
    assert [trace_context.trace_of(header) for header in (None, "", "no", HEADER)] == ["", "", "", TRACE]
