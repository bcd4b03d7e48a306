"""The rollout as all workers together see it, and whether a candidate may be promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SUMMED: Final = ("waiting", "dropped", "compared", "live_denied", "candidate_denied")


def combined(statuses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One status of several; every worker's differences, newest first. `agreed`: all workers do the same."""
    first = statuses[0]
    agreed = all(
        one.get(name) == first.get(name) for one in statuses for name in ("live", "candidate", "phase", "choice")
    )
    if first["candidate"] is None:
        return {"live": first["live"], "candidate": None, "agreed": agreed}
    whole = [one for one in statuses if one["candidate"] is not None]
    summed = {name: sum(one[name] for one in whole) for name in _SUMMED}
    totals: dict[tuple[str, str, str], int] = {}
    for one in whole:
        for row in one["totals"]:
            key = (row["difference"], row["route"], row["code"])
            totals[key] = totals.get(key, 0) + row["count"]
    differences = sorted((found for one in whole for found in one["differences"]), key=_time, reverse=True)
    rows = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    compared = summed["compared"]
    increase = 100.0 * (summed["candidate_denied"] - summed["live_denied"]) / compared if compared else 0.0
    return {
        **first,
        **summed,
        "agreed": agreed,
        "increase": round(increase, 4),
        "totals": [
            {"difference": kind, "route": route, "code": code, "count": count} for (kind, route, code), count in rows
        ],
        "differences": differences[: max(len(one["differences"]) for one in whole)],
    }


def objections(status: Mapping[str, Any]) -> list[str]:
    """Why a promotion is refused, unless the operator insists. `status` as `combined` makes it."""
    if status["candidate"] is None:
        return ["there is no candidate: policy.candidate is not configured"]
    bound = status["bound"]
    found = []
    if not status["agreed"]:
        found.append("the workers do not agree: a reload is under way, or one of them has just started")
    if status["compared"] < bound["min_decisions"]:
        found.append(
            f"only {status['compared']} decisions were compared in the window, {bound['min_decisions']} are needed"
        )
    if status["increase"] > bound["max_denial_increase"]:
        found.append(
            f"the candidate denies {status['increase']:.2f} percentage points more, "
            f"{bound['max_denial_increase']:g} are allowed"
        )
    return found


def _time(difference: Mapping[str, Any]) -> str:
    return str(difference["timestamp"])
