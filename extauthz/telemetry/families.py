"""Every metric of a worker: the whole list. `docs/telemetry.md` repeats it and a test compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Family:
    """`name` as it is scraped."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


def _families(*families: Family) -> dict[str, Family]:
    return {family.name: family for family in families}


FAMILIES: Final = _families(
    Family("extauthz_checks_total", "counter", ("route", "decision"), "Checks answered."),
    Family("extauthz_denials_total", "counter", ("route", "service", "layer", "code"), "Denials, by first reason."),
    Family("extauthz_check_seconds", "histogram", (), "Time of a whole Check."),
    Family("extauthz_stage_seconds", "histogram", ("stage",), "Time of one stage of a Check."),
    Family("extauthz_upstream_seconds", "histogram", ("upstream",), "Time of one call to another server."),
    Family("extauthz_upstream_errors_total", "counter", ("upstream",), "Calls to another server that failed."),
    Family("extauthz_cache_requests_total", "counter", ("cache", "outcome"), "Cache lookups."),
    Family("extauthz_cache_entries", "gauge", ("cache",), "Entries in a cache."),
    Family("extauthz_jwks_fetches_total", "counter", ("issuer", "outcome"), "Fetches of an issuer's keys."),
    Family("extauthz_engine_faults_total", "counter", ("code",), "Checks without a decision, by our own code."),
    Family("extauthz_records_total", "counter", (), "Decision records written."),
    Family("extauthz_records_dropped_total", "counter", ("reason",), "Decision records lost."),
    Family("extauthz_reloads_total", "counter", ("outcome",), "Reloads of the configuration or the policy."),
    Family("extauthz_policy_info", "gauge", ("revision",), "1 for the active policy revision."),
    Family("extauthz_build_info", "gauge", ("version",), "1 for the running version."),
    Family(
        "extauthz_certificate_not_after_seconds", "gauge", ("certificate",), "When a certificate of ours ends (epoch)."
    ),
    Family("extauthz_checks_in_flight", "gauge", (), "Checks being answered now."),
    Family("extauthz_revocations_sequence", "gauge", (), "The newest revocation that is known."),
    Family("extauthz_revocations", "gauge", ("kind",), "Revocations in force that the source told."),
    Family("extauthz_revocations_age_seconds", "gauge", (), "Time since all revocations were last known."),
    Family("extauthz_revocations_stale", "gauge", (), "1 while routes with effects deny for stale revocations."),
    Family("extauthz_candidate_info", "gauge", ("revision", "phase"), "1 for the candidate policy and what it does."),
    Family(
        "extauthz_candidate_comparisons_total",
        "counter",
        ("route", "difference", "code"),
        "Questions put to both policies, by what differs.",
    ),
    Family("extauthz_candidate_answers_total", "counter", ("decision",), "Checks that the candidate was to answer."),
    Family("extauthz_candidate_dropped_total", "counter", (), "Comparisons dropped because the queue was full."),
    Family("extauthz_candidate_waiting", "gauge", (), "Comparisons that wait."),
    Family(
        "extauthz_candidate_denial_ratio", "gauge", ("policy",), "Share of the compared questions denied in the window."
    ),
    Family("extauthz_candidate_rollbacks_total", "counter", (), "Candidates that were taken back by themselves."),
    Family("extauthz_api_requests_total", "counter", ("endpoint", "status"), "Requests to the HTTP API."),
    Family("extauthz_traces_total", "counter", (), "Checks whose spans were sent."),
    Family("extauthz_traces_dropped_total", "counter", ("reason",), "Sampled Checks whose spans were lost."),
    Family("extauthz_breaker_state", "gauge", ("endpoint",), "0: closed, 1: half-open, 2: open."),
    Family("extauthz_breaker_transitions_total", "counter", ("endpoint", "to"), "Changes of a breaker's state."),
    Family(
        "extauthz_failure_plans_total",
        "counter",
        ("route", "cause", "plan"),
        "Checks that a failure plan answered because a part failed.",
    ),
    Family("extauthz_shed_total", "counter", ("route", "criticality"), "Requests shed because of overload."),
    Family("extauthz_shed_level", "gauge", (), "0: nobody is shed; 1, 2: all sheddable, all normal routes are."),
    Family("extauthz_judgements_total", "counter", ("route", "verdict"), "Requests judged in the background."),
    Family("extauthz_judgement_queue", "gauge", (), "Requests that wait to be judged."),
    Family("extauthz_judgement_queue_limit", "gauge", (), "Requests that may wait to be judged."),
    Family("extauthz_judgement_lag_seconds", "gauge", (), "How long the oldest of them has waited."),
    Family("extauthz_judgements_late_total", "counter", ("route",), "Judgements later than judgement.lag_slo."),
    Family("extauthz_judgement_alerts_total", "counter", ("outcome",), "Alerts of violations, by what came of them."),
    Family("extauthz_quarantines", "gauge", ("kind",), "Quarantines in force."),
    Family("extauthz_break_glass_total", "counter", ("route", "outcome"), "Break-glass grants shown, used or refused."),
    Family("extauthz_audit_records_total", "counter", (), "Audit records written."),
    Family("extauthz_audit_dropped_total", "counter", (), "Audit records lost."),
    Family("extauthz_audit_waiting", "gauge", (), "Audit records that wait to be written."),
    Family("extauthz_audit_sink_dropped", "gauge", ("sink",), "Audit records that a sink has not got."),
    Family("extauthz_audit_healthy", "gauge", (), "1 while audit records can be written."),
)
