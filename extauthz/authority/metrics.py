"""What the authority counts and measures; each family has a row in docs/authority.md, which a test compares.

Labels are bounded: kinds and phases are our own words; codes are ours or a policy's, at most MAX_CODES different ones.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from extauthz.authority.audit import Audit

MAX_CODES: Final = 256
OTHER: Final = "other"
FAMILIES: Final = {
    "extauthz_authority_events_total": ("Audit records written, by event.", ("event",)),
    "extauthz_authority_refusals_total": ("Refusals, by code.", ("code",)),
    "extauthz_authority_unrecorded_total": ("Refusals of strangers beyond what is recorded.", ()),
    "extauthz_authority_polls": ("Long polls that are open.", ()),
    "extauthz_authority_trust_sequence": ("Sequence of the trust that is given out.", ()),
    "extauthz_authority_keys": ("Keys of a set in a phase of the rotation.", ("set", "phase")),
    "extauthz_authority_not_after_seconds": ("End of a certificate, seconds since the epoch.", ("certificate",)),
    "extauthz_authority_active_since_seconds": ("When a set's active key was activated.", ("set",)),
    "extauthz_authority_rotation_due_seconds": ("When a set's active key is to have a successor (epoch).", ("set",)),
}
"""Name → help, labels."""

Gauges = dict[str, dict[tuple[str, ...], float]]
"""Family → label values → value."""


class AuthorityMetrics:
    def __init__(self) -> None:
        self._measure: Callable[[], Gauges] = dict
        self._counts: dict[str, Counter[tuple[str, ...]]] = {
            name: Counter() for name in FAMILIES if name.endswith("_total")
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def measured_by(self, measure: Callable[[], Gauges]) -> None:
        """Asked on each scrape; what it cannot say it leaves out."""
        self._measure = measure

    def event(self, event: str) -> None:
        self._counts["extauthz_authority_events_total"][event,] += 1

    def refused(self, code: str) -> None:
        counts = self._counts["extauthz_authority_refusals_total"]
        known = (code,) in counts or len(counts) < MAX_CODES
        counts[code if known else OTHER,] += 1

    def unrecorded(self) -> None:
        self._counts["extauthz_authority_unrecorded_total"][()] += 1

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        gauges = self._measure()
        for name, (text, labels) in FAMILIES.items():
            if name in self._counts:
                counter = CounterMetricFamily(name.removesuffix("_total"), text, labels=labels)
                for values, count in self._counts[name].items():
                    counter.add_metric(values, count)
                yield counter
            else:
                gauge = GaugeMetricFamily(name, text, labels=labels)
                for values, value in gauges.get(name, {}).items():
                    gauge.add_metric(values, value)
                yield gauge


class CountedAudit:
    """An audit that counts what it records; an event with a `code` is a refusal. A record names the trace of the
    request that it was written for, where there is one."""

    def __init__(self, audit: Audit, metrics: AuthorityMetrics) -> None:
        self._audit = audit
        self._metrics = metrics

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        if trace_id := trace_context.current.get():
            fields = {**fields, "trace_id": trace_id}
        await self._audit.write(event, fields)
        self._metrics.event(event)
        if isinstance(code := fields.get("code"), str) and code:
            self._metrics.refused(code)

    async def close(self) -> None:
        await self._audit.close()
