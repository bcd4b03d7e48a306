"""A run whose answers are wrong is a failed run, however fast it was."""

from __future__ import annotations

import pytest

from bench.generator import Sample
from bench.run import Plan, Result, measure, ordered, probe
from bench.tokens import Probes
from bench.variants import BY_NAME, VARIANTS

PLAN = Plan(repeats=2, seconds=1.0, warmup=0.0)
RIGHT = {"good": 200, "forged": 401, "unprivileged": 403, "": 401}


class FakeLab:
    """Answers by token; counts what each server was asked."""

    probes = Probes("good", "forged", "unprivileged")

    def __init__(self, answers=RIGHT, *, errors=0, skipped=0) -> None:
        self.answers, self.errors, self.skipped = answers, errors, skipped
        self.asked, self.order, self.tokens = 0, [], 0

    def ask(self, variant, token):
        return self.answers[token] if variant.authorizes else 200

    def fresh_tokens(self, seconds):
        self.tokens += 1

    def measure(self, variant, *, conns, rate, warmup, seconds):
        self.order.append((variant.name, rate))
        self.asked += 100 - self.skipped
        return Sample(rate or 1000.0 + len(self.order), 10.0, 20.0, 100, self.errors, "reset" if self.errors else "")

    def allowed_by(self, server):
        return self.asked


def _one(lab, name="warm-envoy"):
    return measure(lab, [BY_NAME[name]], PLAN, lambda _: None)[0]


def test_a_right_run_has_no_problems_and_the_keys_of_the_issue() -> None:
    lab = FakeLab()
    row = _one(lab).row()
    assert row["problems"] == []
    assert (row["name"], row["rps"], row["p50_us"], row["p99_us"], row["errors"]) == ("warm-envoy", 1001.5, 10, 20, 0)
    assert row["repeats"] == [1001.0, 1002.0]
    assert lab.order == [("warm-envoy", 0.0), ("warm-envoy", 0.0), ("warm-envoy", PLAN.rate)]
    assert lab.tokens == 3


@pytest.mark.parametrize("token", RIGHT)
def test_each_probe_that_is_answered_wrongly_is_a_problem(token) -> None:
    found = probe(FakeLab({**RIGHT, token: 503 if token == "good" else 200}), BY_NAME["warm-envoy"])
    assert len(found) == 1
    assert found[0].startswith(token or "no")


def test_a_limit_lets_every_token_through() -> None:
    assert probe(FakeLab(), BY_NAME["no-authz"]) == []
    assert probe(FakeLab(), BY_NAME["null-envoy"]) == []


def test_wrong_answers_under_load_are_a_problem() -> None:
    assert _one(FakeLab(errors=2)).row()["problems"] == ["6 wrong answers: reset"]


def test_requests_that_the_server_never_saw_are_a_problem() -> None:
    assert "not asked" in _one(FakeLab(skipped=1)).problems[0]


def test_every_round_measures_every_variant_in_another_order() -> None:
    results = [Result(variant) for variant in VARIANTS]
    rounds = [tuple(result.variant.name for result in ordered(results, number)) for number in range(4)]
    assert len(set(rounds)) == 4
    assert all(sorted(one) == sorted(rounds[0]) for one in rounds)
