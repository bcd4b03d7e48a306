"""Two answers to one question, side by side: what differs, and the record of it.

| difference | live | candidate |
| --- | --- | --- |
| `allowed_to_denied` | allows | denies |
| `denied_to_allowed` | denies | allows: access widens |
| `code` | denies | denies for another reason |
| `obligations` | allows | allows with other headers, masks or metadata |
| `fault` | anything | has no answer |
| `live_fault` | has no answer | answers |
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from extauthz.errors import EngineFault
from extauthz.model import Allow
from extauthz.policy.engine import Evaluation
from extauthz.telemetry.redact import plain, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

Outcome: TypeAlias = Evaluation | EngineFault

SAME: Final = "same"
DIFFERENCES: Final = ("allowed_to_denied", "denied_to_allowed", "code", "obligations", "fault", "live_fault")
_REASONS: Final = 8


def allows(outcome: Outcome) -> bool:
    return isinstance(outcome, Evaluation) and isinstance(outcome.decision, Allow)


def code(outcome: Outcome) -> str:
    """The code of the first reason, or of the fault; empty for an allow."""
    if isinstance(outcome, EngineFault):
        return outcome.code
    return "" if isinstance(outcome.decision, Allow) else outcome.decision.code


def difference(live: Outcome, candidate: Outcome) -> str:
    """A row of the table above, or `same`."""
    if isinstance(candidate, EngineFault):
        return SAME if isinstance(live, EngineFault) and live.code == candidate.code else "fault"
    if isinstance(live, EngineFault):
        return "live_fault"
    before, after = live.decision, candidate.decision
    if isinstance(before, Allow):
        if not isinstance(after, Allow):
            return "allowed_to_denied"
        return SAME if before.obligations == after.obligations else "obligations"
    if isinstance(after, Allow):
        return "denied_to_allowed"
    return SAME if before.code == after.code else "code"


def culprit(live: Outcome, candidate: Outcome) -> str:
    """The code that a difference is counted by: the candidate's denial, or the denial that it no longer makes."""
    return code(candidate) or code(live)


def document(
    kind: str,
    *,
    decision_id: str,
    at: float,
    route: str,
    entrypoint: str,
    policy_input: Mapping[str, Any],
    live: Outcome,
    candidate: Outcome,
    answered_by: str,
) -> dict[str, Any]:
    """One difference as JSON values; holds no more of the caller than a decision record does."""
    subject = policy_input.get("subject")
    who = subject if isinstance(subject, dict) else {}
    return {
        "type": "comparison",
        "decision_id": decision_id,
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds"),
        "difference": kind,
        "code": culprit(live, candidate),
        "route": route,
        "path": entrypoint,
        "subject": {"type": plain(str(who.get("type", "")), 64), "id": plain(str(who.get("id", "")))},
        "tenant": plain(tenant(policy_input), 128),
        "answered_by": answered_by,
        "live": _outcome(live),
        "candidate": _outcome(candidate),
    }


def tenant(policy_input: Mapping[str, Any]) -> str:
    """`subject.properties.tenant`; empty when there is none."""
    subject = policy_input.get("subject")
    properties = subject.get("properties") if isinstance(subject, dict) else None
    found = properties.get("tenant") if properties is not None and hasattr(properties, "get") else None
    return found if isinstance(found, str) else ""


def subject_id(policy_input: Mapping[str, Any]) -> str:
    """`subject.id`; empty when there is none."""
    subject = policy_input.get("subject")
    found = subject.get("id") if isinstance(subject, dict) else None
    return found if isinstance(found, str) else ""


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, EngineFault):
        return {"allow": False, "code": outcome.code, "reasons": [{"code": outcome.code, "detail": outcome.detail}]}
    decision = outcome.decision
    if isinstance(decision, Allow):
        return {"allow": True, "revision": outcome.revision, "masked": list(decision.obligations.mask[:32])}
    reasons = []
    for reason in decision.reasons[:_REASONS]:
        entry = {"code": plain(reason.code, 128)}
        if reason.detail:
            entry["detail"] = redact(plain(reason.detail))
        reasons.append(entry)
    return {"allow": False, "revision": outcome.revision, "code": plain(decision.code, 128), "reasons": reasons}
