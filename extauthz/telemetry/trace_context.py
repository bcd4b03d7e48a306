"""W3C Trace Context, level 1 (w3.org/TR/trace-context-1): reading `traceparent`, and continuing it.

A header that cannot be read is as if it had not come (section 3.2.2.5): a trace is a help for whoever looks for a
request, nothing is decided by it. `tracestate` belongs to others and is not read.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final

HEADER: Final = "traceparent"
_LENGTH: Final = 55
"""Characters in version 00; a later one may go on after a hyphen (section 4)."""
_LONGEST: Final = 256
_SHAPE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = "13579bdf"
"""The last digit of the flags, where bit 0 is set (section 3.2.2.5.1)."""


TraceContext = tuple[str, str, bool]
"""`trace_id` (32) and `parent_id` (16 lower-case hex digits, neither all zeros), `sampled`."""
current: Final[ContextVar[str]] = ContextVar("extauthz_trace_id", default="")
"""The trace of the request that a process is answering, where audit records name it; empty: none was told."""


def parse(header: str) -> TraceContext | None:
    """None for anything that section 3.2 does not allow, two headers that were joined by a comma among it."""
    if len(header) > _LONGEST or _SHAPE.fullmatch(header) is None:
        return None
    if len(header) != _LENGTH and header.startswith("00"):
        return None
    trace_id, parent_id = header[3:35], header[36:52]
    if trace_id == _NO_TRACE or parent_id == _NO_SPAN or header.startswith("ff"):
        return None
    return trace_id, parent_id, header[54] in _SAMPLED


def trace_of(header: str | None) -> str:
    """The trace id of a header's value; empty when there is none."""
    found = parse(header) if header else None
    return "" if found is None else found[0]


def traceparent(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """The header for a call that belongs to the span."""
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def digits(decision_id: str) -> str:
    """32 hex digits: the trace that a Check starts when its caller named none. Whoever was told the decision id, the
    service behind the Envoy for one, can continue the same trace."""
    return decision_id.replace("-", "")


def span_id(decision_id: str) -> str:
    """The span of a Check: the second half of its id, whose first digit is never 0 (RFC 9562 section 4.1)."""
    return digits(decision_id)[16:]


def child_id(span: str, number: int) -> str:
    """The span of a part of it; `number` from 1 on, below 2 ** 60."""
    return f"{int(span, 16) ^ number:016x}"
