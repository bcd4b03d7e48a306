"""The modules that everything stands on: clock, units, tasks, errors, model, codes."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from extauthz.clock import ManualClock, SystemClock
from extauthz.codes import CODES, HTTP_STATUS, POLICY_LAYERS, Code, Layer, _catalogue, http_status
from extauthz.errors import (
    ConfigError,
    ConfigProblem,
    EngineFault,
    ExtauthzError,
    MissingPart,
    OutboundError,
    SourceFault,
)
from extauthz.model import NO_OBLIGATIONS, Allow, Deny, Reason, Subject, Workload, deny
from extauthz.settings import Duration, Settings, Size
from extauthz.tasks import Tasks

CODES_PAGE = Path(__file__).parents[2] / "docs" / "codes.md"


class Sample(Settings):
    """A sample."""

    wait: Duration = Field("200ms", validate_default=True)
    """How long."""
    room: Size = Field("4MiB", validate_default=True)
    """How much."""


# clock


def test_the_system_clock_has_two_scales() -> None:
    clock = SystemClock()
    assert clock.now() == pytest.approx(time.time_ns() / 1e9, abs=60)
    before = time.monotonic()
    assert before <= clock.monotonic() <= time.monotonic()


def test_the_manual_clock_moves_by_hand() -> None:
    clock = ManualClock()
    start = (clock.now(), clock.monotonic())
    assert (clock.now(), clock.monotonic()) == start
    clock.advance(1.5)
    assert (clock.now() - start[0], clock.monotonic() - start[1]) == (1.5, 1.5)


# settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("7d", 604800), ("0s", 0), (0, 0), (0.0, 0)],
)
def test_durations(text: Any, seconds: float) -> None:
    assert Sample(wait=text).wait == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        1,
        1.5,
        True,
        False,
        "1",
        "s",
        "-1s",
        "1 s",
        "1S",
        "1e3s",
        "1.s",
        ".5s",
        "1s ",
        "1s\n",
        "٣s",
        None,
        [],
        "inf",
        "1w",
    ],
)
def test_durations_need_a_unit(text: Any) -> None:
    with pytest.raises(ValidationError, match="200ms, 30s"):
        Sample(wait=text)


@pytest.mark.parametrize(("text", "size"), [("512B", 512), ("8KiB", 8192), ("4MiB", 4194304), ("1GiB", 2**30)])
def test_sizes(text: Any, size: int) -> None:
    assert Sample(room=text).room == size


@pytest.mark.parametrize("text", [0, 1, True, "1", "8KB", "8kib", "-1B", "1.5KiB", "", "1KiB\n", None])
def test_sizes_need_a_unit(text: Any) -> None:
    with pytest.raises(ValidationError, match="512B, 8KiB"):
        Sample(room=text)


def test_settings_are_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Sample.model_validate({"wiat": "1s"})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Sample(), "wait", 1.0)  # noqa: B010 - mypy knows better than to allow it


def test_defaults_are_read_like_values_and_described() -> None:
    assert (Sample().wait, Sample().room) == (0.2, 4194304)
    schema = Sample.model_json_schema()["properties"]
    assert schema["wait"]["description"] == "How long."
    assert (schema["wait"]["type"], schema["room"]["type"]) == ("string", "string")


@given(st.text(max_size=12))
def test_any_text_is_a_unit_or_an_error_of_validation(text: str) -> None:
    pattern = re.compile(Sample.model_json_schema()["properties"]["wait"]["pattern"])
    try:
        assert Sample(wait=text).wait >= 0
    except ValidationError:
        assert not pattern.fullmatch(text) or text == "0" or not text.isascii()


# tasks


async def test_a_failed_task_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise KeyError("x")

    tasks = Tasks()
    with pytest.raises(KeyError):
        await tasks.start(fail(), "refresh keys")
    await asyncio.sleep(0)
    (entry,) = caplog.records
    assert entry.message == "background task refresh keys failed"
    assert entry.exc_info is not None
    await tasks.close()


async def test_closing_ends_every_task_and_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    tasks = Tasks()
    started = [tasks.start(work(number), f"work {number}") for number in range(3)]
    await asyncio.sleep(0)
    await tasks.close()
    await tasks.close()
    assert sorted(ended) == [0, 1, 2]
    assert all(task.cancelled() for task in started)
    assert caplog.records == []


async def test_a_task_is_kept_alive_and_its_result_given() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    tasks = Tasks()
    assert await tasks.start(work(), "work") == 5
    await asyncio.sleep(0)
    assert tasks._running == set()


# errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EngineFault("engine.unavailable", "no socket"), "engine.unavailable: no socket"),
        (EngineFault("engine.undefined"), "engine.undefined"),
        (SourceFault("crm", "answered 500"), "attribute source crm: answered 500"),
        (OutboundError("too large"), "too large"),
        (MissingPart("OPA", "run make native"), "OPA is missing: run make native"),
        (ConfigError((ConfigProblem("a.yaml", 3, "x.y", "wrong", "right"),)), "a.yaml:3: x.y: wrong (fix: right)"),
        (ConfigError((ConfigProblem("a.yaml", 0, "", "empty", ""),)), "a.yaml: empty"),
    ],
)
def test_errors_say_what_and_are_one_kind(error: ExtauthzError, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, ExtauthzError)


# model


def test_a_denial_has_a_reason_and_the_first_one_decides() -> None:
    with pytest.raises(AssertionError):
        Deny(())
    denial = Deny((Reason("attribute.region"), Reason("token.expired")))
    assert (denial.code, denial.layer, denial.status) == ("attribute.region", Layer.ATTRIBUTE, 403)
    assert denial.message == "The policy denies this request."
    assert Deny((Reason("token.expired", message="Own words."),)).message == "Own words."


@pytest.mark.parametrize("code", CODES)
def test_each_code_denies(code: str) -> None:
    denial = deny(code, "detail")
    assert denial.message == CODES[code].message
    assert denial.status == http_status(code)
    assert denial.reasons == (Reason(code, detail="detail"),)


def test_an_unlisted_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        deny("token.made_up")


def test_values_are_frozen() -> None:
    values = (Allow(), deny("token.missing"), Reason("role.denied"), Subject("user", "a", "jwt"), Workload("x", "y"))
    for value in values:
        with pytest.raises(FrozenInstanceError):
            setattr(value, next(iter(value.__slots__)), "x")
    assert Allow().obligations is NO_OBLIGATIONS


# codes


def test_codes_are_well_formed() -> None:
    for name, code in CODES.items():
        assert name == code.code
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
        assert code.message.endswith(".")
        assert code.remedy.endswith(".")
        assert code.layer in Layer


def test_every_layer_has_a_status_and_codes_of_ours() -> None:
    assert set(HTTP_STATUS) == set(Layer)
    assert HTTP_STATUS == {
        Layer.REQUEST: 400,
        Layer.WORKLOAD: 403,
        Layer.TRANSPORT: 403,
        Layer.TOKEN: 401,
        Layer.ROLE: 403,
        Layer.ATTRIBUTE: 403,
        Layer.ENGINE: 503,
    }
    assert {code.layer for code in CODES.values()} == set(Layer)


def test_standards_set_some_statuses_apart() -> None:
    apart = {name: http_status(name) for name, code in CODES.items() if http_status(name) != HTTP_STATUS[code.layer]}
    assert apart == {
        "transport.binding_mismatch": 401,
        "transport.binding_missing": 401,
        "token.scope": 403,
        "token.api_key_route": 403,
        "token.rate_limited": 429,
        "token.exchange_refused": 403,
        "token.quarantined": 403,
        "token.break_glass": 403,
    }


def test_a_policy_cannot_deny_in_our_name() -> None:
    assert frozenset(Layer) - {Layer.REQUEST, Layer.ENGINE} == POLICY_LAYERS


def test_a_code_is_listed_once() -> None:
    with pytest.raises(AssertionError, match="twice"):
        _catalogue(("token.x", "a", "b"), ("token.x", "c", "d"))


def codes_table() -> str:
    """The table of docs/codes.md."""
    order = list(Layer)
    rows = map(_row, sorted(CODES.values(), key=lambda code: order.index(code.layer)))
    return "\n".join(["| Code | Layer | HTTP | Message | Remedy |", "| --- | --- | --- | --- | --- |", *rows])


def _row(code: Code) -> str:
    return f"| `{code.code}` | {code.layer} | {int(http_status(code.code))} | {code.message} | {code.remedy} |"


def test_the_page_lists_every_code() -> None:
    """To write the page anew: `python -m tests.unit.test_base`."""
    page = CODES_PAGE.read_text()
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    assert table == codes_table()


if __name__ == "__main__":
    head = CODES_PAGE.read_text().partition("| Code |")[0]
    CODES_PAGE.write_text(head + codes_table() + "\n")
