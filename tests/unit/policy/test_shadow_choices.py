"""The choice file: bound to two revisions, whole or not at all, kept where the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.errors import ExtauthzError
from extauthz.policy.rollout_state import Choice, Choices, Phase, _parse

if TYPE_CHECKING:
    from pathlib import Path

CHOICE = Choice("live-1", "next-1", Phase.PROMOTED, "promote", "by ops", 1.5)


def test_a_choice_is_read_back_for_its_two_revisions_only(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "rollout.json")
    assert choices.read("live-1", "next-1") is None
    assert choices.stamp() == 0
    choices.write(CHOICE)
    assert choices.read("live-1", "next-1") == CHOICE
    assert choices.read("live-2", "next-1") is None
    assert choices.read("live-1", "next-2") is None
    before = choices.stamp()
    choices.write(None)
    assert choices.read("live-1", "next-1") is None
    assert choices.stamp() != before


def test_a_kept_choice_outlives_the_run_directory(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "rollout.json"
    kept.parent.mkdir()
    Choices(tmp_path / "one.json", str(kept)).write(CHOICE)
    after = Choices(tmp_path / "two.json", str(kept))
    assert after.read("live-1", "next-1") == CHOICE
    after.write(None)
    assert Choices(tmp_path / "three.json", str(kept)).read("live-1", "next-1") is None


def test_a_place_that_cannot_be_written_is_told_apart(tmp_path: Path) -> None:
    elsewhere = Choices(tmp_path / "rollout.json", str(tmp_path / "missing" / "rollout.json"))
    with pytest.raises(ExtauthzError, match="not kept over a restart"):
        elsewhere.write(CHOICE)
    assert elsewhere.read("live-1", "next-1") == CHOICE
    with pytest.raises(ExtauthzError, match="does not hold"):
        Choices(tmp_path / "missing" / "rollout.json").write(CHOICE)


@given(st.binary(max_size=200))
def test_what_is_not_ours_is_no_choice(text: bytes) -> None:
    assert _parse(text) is None


@pytest.mark.parametrize(
    "text", [b"{}", b"[]", b'{"phase":"live"}', b'{"live":"a","candidate":"b","phase":"off","by":"x","more":1}']
)
def test_nearly_ours_is_no_choice(text: bytes) -> None:
    assert _parse(text) is None
