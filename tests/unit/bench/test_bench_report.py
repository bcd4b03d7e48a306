"""What is written can be read again, and says what the figures hold for."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.generator import Sample
from bench.run import Plan, Result
from bench.variants import BY_NAME


def _row(name: str, rps: float) -> dict:
    sample = Sample(rps, 100.0, 900.0, 1000, 0, cores={"generator": 0.5, "front": 0.7})
    return Result(BY_NAME[name], [sample], [sample]).row()


ROWS = [_row("warm-envoy", 5000.0), _row("warm-grpcio", 2000.0), _row("no-authz", 20000.0)]


def test_latest_json_is_a_list_with_the_keys_of_the_issue(tmp_path) -> None:
    file = report.write(ROWS, Plan(), tmp_path)
    assert file.name == "latest.json"
    read = json.loads(file.read_text())
    assert [row["name"] for row in read] == ["warm-envoy", "warm-grpcio", "no-authz"]
    assert all({"name", "rps", "p50_us", "p99_us", "errors"} <= row.keys() for row in read)


def test_ratios_are_of_the_variants_that_ran() -> None:
    assert report.ratios(ROWS) == [("warm-envoy / warm-grpcio", 2.5, 2.5)]


def test_markdown_holds_every_variant_and_the_machine() -> None:
    text = report.markdown(ROWS, Plan())
    assert "| warm-envoy / warm-grpcio | 2.50 | 2.5 |" in text
    assert "100 / 140 / –" in text
    assert all(row["what"] in text for row in ROWS)
    assert "cores" in text.splitlines()[-1]


def test_the_median_is_shown_with_its_spread() -> None:
    samples = [Sample(rps, 1.0, 2.0, 10, 0) for rps in (900.0, 1000.0, 1200.0)]
    result = Result(BY_NAME["no-authz"], samples, samples[:1])
    assert result.rps == 1000.0
    assert result.spread == pytest.approx(0.15)
