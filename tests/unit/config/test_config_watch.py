"""A change is seen once, when it is at rest."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from extauthz.clock import ManualClock
from extauthz.config import load, load_text
from extauthz.config.watch import Watcher, needs_restart, watched
from extauthz.errors import MissingPart


class Calls:
    def __init__(self, error: Exception | None = None):
        self.count = 0
        self.error = error

    async def __call__(self):
        self.count += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def place(tmp_path):
    (tmp_path / "extauthz.yaml").write_text("version: 1\n")
    (tmp_path / "policies" / "a").mkdir(parents=True)
    (tmp_path / "policies" / "a" / "x.rego").write_text("package a\n")
    return tmp_path


def watcher(place, calls, *, now=4_000_000_000.0):
    paths = (place / "extauthz.yaml", place / "policies")
    return Watcher(lambda: paths, calls, ManualClock(epoch=now))


async def looks(subject: Watcher, times: int) -> list[bool]:
    return [await subject.look() for _ in range(times)]


async def test_nothing_changes(place):
    calls = Calls()
    assert await looks(watcher(place, calls), 4) == [False] * 4
    assert calls.count == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "extauthz.yaml").write_text("version: 1 # more\n"),
        lambda place: (place / "policies" / "a" / "x.rego").write_text("package b\n"),
        lambda place: (place / "policies" / "a" / "y.rego").write_text("package a\n"),
        lambda place: (place / "policies" / "a" / "x.rego").unlink(),
        lambda place: (place / "extauthz.yaml").unlink(),
        lambda place: (place / "policies").rename(place / "elsewhere"),
    ],
)
async def test_a_change_is_reported_once_at_rest(place, change):
    calls = Calls()
    subject = watcher(place, calls)
    await looks(subject, 2)
    change(place)
    assert await looks(subject, 4) == [False, True, False, False]
    assert calls.count == 1


async def test_files_that_keep_changing_are_waited_for(place):
    calls = Calls()
    subject = watcher(place, calls)
    await looks(subject, 2)
    for number in range(4):
        (place / "extauthz.yaml").write_text(f"version: {number}\n")
        assert await subject.look() is False
    assert await subject.look() is True
    assert calls.count == 1


async def test_a_change_that_is_taken_back_is_none(place):
    calls = Calls()
    subject = watcher(place, calls)
    await looks(subject, 2)
    (place / "extauthz.yaml").write_text("version: 2\n")
    await subject.look()
    (place / "extauthz.yaml").write_text("version: 1\n")
    assert await looks(subject, 3) == [False] * 3


async def test_touching_a_file_is_no_change(place):
    calls = Calls()
    subject = watcher(place, calls)
    await looks(subject, 2)
    os.utime(place / "extauthz.yaml", (1, 1))
    assert await looks(subject, 3) == [False] * 3


async def test_a_file_of_the_same_size_and_time_is_read_again_while_it_is_young(place):
    file = place / "extauthz.yaml"
    calls = Calls()
    subject = watcher(place, calls, now=file.stat().st_mtime)
    await looks(subject, 2)
    before = file.stat()
    file.write_text("version: 2\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await looks(subject, 2) == [False, True]


async def test_a_symlink_swap_is_seen(place):
    (place / "one").write_text("version: 1\n")
    (place / "two").write_text("version: 2\n")
    link = place / "link"
    link.symlink_to("one")
    calls = Calls()
    subject = Watcher(lambda: [link], calls, ManualClock(epoch=4e9))
    await looks(subject, 2)
    (place / "next").symlink_to("two")
    (place / "next").rename(link)
    assert await looks(subject, 2) == [False, True]


async def test_odd_files_are_passed_over(place):
    os.mkfifo(place / "policies" / "fifo")
    (place / "policies" / "dangling").symlink_to("nowhere")
    assert await looks(watcher(place, Calls()), 2) == [False, False]


@pytest.mark.parametrize("error", [MissingPart("opa", "build it"), RuntimeError("boom")])
async def test_a_refused_change_is_logged_and_watching_goes_on(place, caplog, error):
    calls = Calls(error)
    subject = watcher(place, calls)
    await looks(subject, 2)
    with caplog.at_level(logging.ERROR):
        for number in (2, 3):
            (place / "extauthz.yaml").write_text(f"version: {number}\n")
            assert await looks(subject, 2) == [False, True]
    assert calls.count == 2
    assert "the change was not taken" in caplog.text


async def test_run_looks_at_intervals_until_it_is_cancelled(place):
    slept = []
    calls = Calls()

    async def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            (place / "extauthz.yaml").write_text("version: 1 # new\n")
        if len(slept) == 5:
            raise asyncio.CancelledError

    subject = Watcher(lambda: [place / "extauthz.yaml"], calls, ManualClock(), interval=0.25, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await subject.run()
    assert slept == [0.25] * 5
    assert calls.count == 1


CONFIG = """
server: {drain: 5s}
workload: {trust_domains: {a.example: {trust_bundle: a.pem}}}
issuers:
- {name: a, issuer: b, algorithms: [ES256], jwks: {file: keys.json}}
- name: c
  issuer: d
  algorithms: [ES256]
  jwks: {file: keys.json}
  introspection: {url: "https://d.example/introspect", client: {id: us, secret_file: secret}}
revocation: {file: revoked.yaml}
policy: {path: policies}
"""


async def test_which_files_call_for_a_reload(place):
    (place / "extauthz.yaml").write_text(CONFIG)
    config = load(place / "extauthz.yaml")
    assert set(watched(config)) == {place / "policies", place / "secret"}
    names = {path.name for path in watched(config, everything=True)}
    assert names == {"policies", "a.pem", "keys.json", "revoked.yaml", "secret"}


def test_what_takes_a_restart():
    old = load_text("server: {workers: 1}\nenvironment: prod\n")
    assert needs_restart(old, load_text("environment: staging\n")) == ()
    assert needs_restart(old, load_text("server: {workers: 2, drain: 1s}\n")) == ("server.workers", "server.drain")


async def test_what_was_noted_is_no_news_but_a_change_after_it_is(place):
    calls = Calls()
    subject = watcher(place, calls)
    await looks(subject, 2)
    (place / "extauthz.yaml").write_text("version: 1 # more\n")
    await subject.note()
    assert await looks(subject, 3) == [False] * 3
    (place / "extauthz.yaml").write_text("version: 1 # and more\n")
    assert await looks(subject, 3) == [False, True, False]
    assert calls.count == 1
