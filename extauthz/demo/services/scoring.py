"""The fraud score of one transfer, against the tenant's own history: a logistic model with four features.

Deterministic, without I/O. The weights are a judgement for the demonstration, not the result of training.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL: Final = "fraud"
VERSION: Final = "3.1.0"

_BIAS: Final = -4.0
_WEIGHTS: Final = {"amount": 0.9, "velocity": 0.5, "new_counterparty": 1.4, "night": 0.9}
FEATURES: Final = tuple(_WEIGHTS)
_HOUR: Final = 60.0
_NIGHT_ENDS: Final = 6
_WORDS: Final = {
    "amount": "The amount is unusual for this tenant.",
    "velocity": "The last hour saw more transfers than usual.",
    "new_counterparty": "The counterparty was never paid before.",
    "night": "The transfer was entered at night.",
}
_TELLING: Final = 0.3
"""A feature that adds less than this to the logit is not worth a reason."""


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier transfer: amount, counterparty, age in minutes."""

    amount: float
    counterparty: str
    age: float


@dataclass(frozen=True, slots=True)
class Score:
    """`value` is the probability of fraud, 0 … 1; `reasons` are the features that raised it, strongest first."""

    value: float
    reasons: tuple[str, ...]
    features: dict[str, float]


def score(amount: float, counterparty: str, hour: int, history: Sequence[Past]) -> Score:
    """`hour` is 0 … 23, UTC."""
    features = {
        "amount": _anomaly(amount, [past.amount for past in history]),
        "velocity": _velocity(history),
        "new_counterparty": float(all(past.counterparty != counterparty for past in history)),
        "night": float(hour < _NIGHT_ENDS),
    }
    pushes = {name: _WEIGHTS[name] * value for name, value in features.items()}
    value = 1.0 / (1.0 + math.exp(-(_BIAS + sum(pushes.values()))))
    strongest = sorted(pushes, key=lambda name: -pushes[name])
    return Score(
        round(value, 4),
        tuple(name for name in strongest if pushes[name] > _TELLING),
        {name: round(value, 3) for name, value in features.items()},
    )


def explain(features: Mapping[str, float]) -> list[str]:
    """What raised a score, in words for an analyst, strongest first. It sees features, never the rows behind them."""
    pushes = {name: weight * features.get(name, 0.0) for name, weight in _WEIGHTS.items()}
    return [_WORDS[name] for name in sorted(pushes, key=lambda name: -pushes[name]) if pushes[name] > _TELLING]


def _anomaly(amount: float, earlier: Sequence[float]) -> float:
    """Standard deviations above the tenant's mean, on a log scale, between 0 and 8; without a history: 2."""
    if len(earlier) < 2:  # noqa: PLR2004 - a deviation needs two
        return 2.0
    logs = [math.log1p(max(value, 0.0)) for value in earlier]
    spread = max(statistics.stdev(logs), 0.05)
    return min(max((math.log1p(max(amount, 0.0)) - statistics.fmean(logs)) / spread, 0.0), 8.0)


def _velocity(history: Sequence[Past]) -> float:
    """How many more transfers the last hour saw than an hour of the last day did on average, between 0 and 8."""
    day = [past for past in history if past.age <= 24 * _HOUR]
    last = sum(past.age <= _HOUR for past in day)
    return min(max(last - len(day) / 24, 0.0), 8.0)
