"""The follower's rounds, on a source that a test plays; and its snapshot."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from extauthz.authn import revocation_snapshot as snapshot
from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_feed import FeedSource
from extauthz.authn.revocation_follower import Follower, open_follower
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import ManualClock
from extauthz.errors import OutboundError
from extauthz.store.revocations import BadRevocation, Page, Revocation

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://authority.bank.example/v1/revocations"
NOW = ManualClock().now()


def entry(value: str, until: float = NOW + 1000) -> Revocation:
    return Revocation("jti", value, until)


def page(sequence: int, *values: str, complete: bool = True) -> Page:
    return Page(sequence, complete, tuple(map(entry, values)))


class Played:
    """A source that gives its answers one after the other, then is asked no more."""

    def __init__(self, *answers: Page | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, float]] = []
        self.closed = False

    async def poll(self, after: int, wait: float) -> Page:
        self.asked.append((after, wait))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


class Case:
    """A follower whose sleeps pass on a manual clock; it ends when the source has no answer left."""

    def __init__(self, *answers: Page | Exception, **settings: object) -> None:
        self.clock = ManualClock()
        self.source = Played(*answers)
        self.revocations = Revocations(RevocationSettings(feed={"url": URL}, **settings), self.clock)
        self.slept: list[float] = []
        self.follower = Follower(self.source, self.revocations, self.clock, sleep=self._sleep, random=lambda: 1.0)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if not self.source.answers:
            raise asyncio.CancelledError

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self.follower.follow()

    def knows(self, jti: str) -> bool:
        return self.revocations.token(digest="d", jti=jti, sub="s", kid="k", issued_at=1.0)


async def test_each_round_asks_for_what_came_after() -> None:
    case = Case(page(2, "a", "b"), page(2), page(5, "c"))
    await case.run()
    assert [after for after, _ in case.source.asked] == [0, 2, 2]
    assert all(map(case.knows, "abc"))
    assert case.revocations.sequence == 5
    assert not case.revocations.stale
    assert case.slept == pytest.approx([0.05, 0.05, 0.05])


@pytest.mark.parametrize("bad", [page(9, "x", complete=False), page(1, "x")])
async def test_a_gap_asks_for_everything_again(bad: Page) -> None:
    case = Case(page(2, "a"), bad, page(3, "b"))
    await case.run()
    assert [after for after, _ in case.source.asked] == [0, 2, 0]
    assert all(map(case.knows, "axb"))
    assert case.revocations.sequence == 3


async def test_while_pages_are_incomplete_nothing_counts_as_heard() -> None:
    case = Case(*(page(2, "a", complete=False) for _ in range(4)))
    await case.run()
    assert case.knows("a")
    assert case.revocations.stale
    assert [after for after, _ in case.source.asked] == [0, 0, 0, 0]


async def test_a_source_that_fails_is_asked_ever_less_often(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    case = Case(page(1, "a"), *(OutboundError("down") for _ in range(20)), BadRevocation("x"), page(1))
    await case.run()
    assert case.slept[1:8] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert max(case.slept) <= 5.0
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "revocations are not up to date: down",
        "revocations are stale: routes with effects deny until the source is heard again",
        "revocations are not up to date: x",
        "revocations are up to date again",
        "revocations are fresh again: routes with effects are served",
    ]
    assert case.knows("a")


async def test_too_many_entries_fail_closed_and_recover() -> None:
    many = Page(150, complete=True, entries=tuple(entry(f"t{n}", NOW + 1 + n) for n in range(150)))
    few = Page(151, complete=True, entries=many.entries[100:])
    case = Case(page(1), many, *(OutboundError("down") for _ in range(30)), few, max_entries=100)
    await case.run()
    assert [after for after, _ in case.source.asked][:3] == [0, 1, 0]
    assert case.knows("t149")
    assert not case.revocations.stale


async def test_an_idle_source_is_heard_often_enough() -> None:
    case = Case(page(0), max_age="3s")
    await case.run()
    assert case.source.asked == [(0, 1.0)]


async def test_the_snapshot_serves_a_start_without_the_source(tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    case = Case(page(2, "a"), snapshot=path)
    await case.follower.first()
    await case.follower.save()
    assert path.stat().st_mode & 0o777 == 0o600
    later = Case(OutboundError("down"), snapshot=path)
    later.clock.advance(59)
    await later.follower.first()
    assert later.knows("a")
    assert not later.revocations.stale
    assert later.source.asked == [(0, 0.0)]
    later.clock.advance(1)
    assert later.revocations.stale


@pytest.mark.parametrize("age", [60, 1e6, -1])
async def test_an_old_snapshot_still_revokes_but_says_nothing_about_now(age: float, tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    snapshot.write(path, NOW - age, [entry("a", NOW + 1)])
    case = Case(OutboundError("down"), snapshot=path)
    await case.follower.first()
    assert case.knows("a")
    assert case.revocations.stale


async def test_the_snapshot_is_written_when_there_is_news(tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    case = Case(page(1, "a"), page(1), page(2, "b"), snapshot=path)
    await case.follower.save()
    assert not path.exists()
    await case.follower.first()
    await case.follower.save()
    first = path.stat().st_ino
    await case.follower.save()
    assert path.stat().st_ino == first
    await case.run()
    await case.follower.close()
    kept = snapshot.load(path)
    assert kept is not None
    assert {known.value for known in kept.entries} == {"a", "b"}
    assert case.source.closed


async def test_a_snapshot_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog) -> None:
    case = Case(page(1, "a"), snapshot=tmp_path / "missing" / "revoked.json")
    await case.follower.first()
    await case.follower.save()
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"{}", b'{"version": 2, "at": 1, "entries": []}', b'{"version": 1, "entries": []}'),
        *(b'{"version": 1, "at": true, "entries": []}', b'{"version": 1, "at": 1, "entries": [{}]}'),
    ],
)
async def test_a_broken_snapshot_is_as_good_as_none(body: bytes, tmp_path: Path, caplog) -> None:
    path = tmp_path / "revoked.json"
    path.write_bytes(body)
    assert snapshot.load(path) is None
    assert "not used" in caplog.text
    case = Case(page(1, "a"), snapshot=path)
    await case.follower.first()
    assert case.knows("a")


def test_a_snapshot_that_others_may_write_is_not_used(tmp_path: Path, caplog) -> None:
    path = tmp_path / "revoked.json"
    snapshot.write(path, NOW, [])
    path.chmod(0o620)
    assert snapshot.load(path) is None
    assert "others may write" in caplog.text


class Client:
    def __init__(self, status: int, body: bytes) -> None:
        self.answer = (status, body)
        self.asked: list[tuple[str, float]] = []

    async def get(self, url: str, timeout: float) -> tuple[int, bytes]:
        self.asked.append((url, timeout))
        return self.answer


async def test_the_feed_is_asked_as_the_authority_expects() -> None:
    client = Client(200, b'{"sequence": 3, "complete": true, "entries": []}')
    settings = RevocationSettings(feed={"url": URL, "timeout": "2s"}).feed
    assert await FeedSource(settings, client).poll(2, 9.5) == Page(3, complete=True, entries=())
    assert client.asked == [(URL + "?after=2&wait=10", 12.0)]


@pytest.mark.parametrize(("status", "body"), [(401, b""), (500, b"{}"), (200, b"{}"), (204, b"")])
async def test_an_answer_of_another_kind_is_a_fault(status: int, body: bytes) -> None:
    case = Case(page(0))
    follower = open_follower(case.revocations, Client(status, body), case.clock)
    await follower.first()
    assert case.revocations.stale


def test_without_a_source_there_is_nobody_to_follow() -> None:
    assert open_follower(Revocations(RevocationSettings()), Client(200, b""), ManualClock()) is None


async def test_many_entries_are_learned_and_forgotten_aside() -> None:
    many = Page(3000, complete=True, entries=tuple(entry(f"t{n}", NOW + 1 + n % 5) for n in range(3000)))
    case = Case(many, *(page(3000) for _ in range(300)))
    await case.run()
    assert case.knows("t2999") is False
    assert case.revocations.size == 0
    assert case.revocations.epoch == 2
