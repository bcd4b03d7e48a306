"""So many at once, so many a second."""

from __future__ import annotations

import math

import pytest

from extauthz.bucket import Bucket


def test_a_burst_then_the_rate() -> None:
    bucket = Bucket(2.0, 100.0)
    assert [bucket.take(100.0, 2.0, 4.0) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(100.0, 2.0, 4.0) == pytest.approx(0.25)
    assert bucket.take(100.125, 2.0, 4.0) == pytest.approx(0.125)
    assert bucket.take(100.25, 2.0, 4.0) == 0.0


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = Bucket(0.0, 0.0)
    assert [bucket.take(1e6, 3.0, 10.0) > 0 for _ in range(4)] == [False, False, False, True]


def test_what_was_refused_costs_nothing() -> None:
    bucket = Bucket(0.5, 0.0)
    assert all(bucket.take(0.0, 1.0, 1.0) for _ in range(10))
    assert bucket.take(0.5, 1.0, 1.0) == 0.0


def test_without_a_rate_the_wait_has_no_end() -> None:
    bucket = Bucket(1.0, 0.0)
    assert bucket.take(0.0, 1.0, 0.0) == 0.0
    assert bucket.take(1e9, 1.0, 0.0) == math.inf
