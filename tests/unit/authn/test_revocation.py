from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_file import read
from extauthz.authn.settings import RevocationSettings
from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.model import Workload
from extauthz.store.revocations import KINDS, Revocation

if TYPE_CHECKING:
    from pathlib import Path


FEED = {"url": "https://authority.bank.example/v1/revocations"}
DIGEST = "a" * 64
NOW = ManualClock().now()


def revocations(file: Path, content: str) -> Revocations:
    file.write_text(content)
    return Revocations(RevocationSettings(file=file))


def followed(clock: ManualClock | None = None, **settings: object) -> Revocations:
    return Revocations(RevocationSettings(feed=FEED, **settings), clock or ManualClock())


def entry(kind: str = "jti", value: str = "t", until: float = NOW + 100, before: float | None = None) -> Revocation:
    return Revocation(kind, value, until, before)


def asks(found: Revocations, jti: str = "t", sub: str = "s", kid: str = "k", issued_at: float = 100.0) -> bool:
    return found.token(digest="d", jti=jti, sub=sub, kid=kid, issued_at=issued_at)


def test_without_a_file_nothing_is_revoked() -> None:
    found = Revocations(RevocationSettings())
    assert not asks(found, "", "", "")
    assert not found.workload(Workload("spiffe://a/b", "a"))
    assert not found.reload()
    assert found.epoch == 0


def test_the_epoch_moves_with_each_change(tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    found = revocations(file, "jti: [t]")
    assert asks(found)
    assert not found.reload()
    assert found.epoch == 0
    file.write_text("sub: {s: 99}")
    assert found.reload()
    assert found.epoch == 1
    assert not asks(found)
    assert asks(found, issued_at=99)
    assert asks(found, issued_at=0)


@pytest.mark.parametrize("broken", ["{", "jti: x", "jti: [1]", "jti: ['']", "other: []", "[]", "sub: {s: true}", None])
def test_a_broken_file_keeps_what_was_revoked(broken: str | None, tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    found = revocations(file, "jti: [t]")
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    assert not found.reload()
    assert "revoked.yaml" in found.problem
    assert found.epoch == 0
    assert asks(found)
    file.write_text("jti: []")
    assert found.reload()
    assert found.problem == ""
    assert not asks(found)


def test_a_broken_file_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a list of strings"):
        revocations(tmp_path / "revoked.yaml", "kid: {a: 1}")
    with pytest.raises(ConfigError, match="cannot be read"):
        Revocations(RevocationSettings(file=tmp_path / "none.yaml"))


@pytest.mark.parametrize("value", [".nan", "-1", "2026-01-01", "'100'"])
def test_a_time_that_would_revoke_nothing_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unix seconds"):
        read(f"sub: {{s: {value}}}".encode(), tmp_path / "x")


def test_an_empty_file_is_an_empty_list(tmp_path: Path) -> None:
    assert not asks(revocations(tmp_path / "revoked.json", ""))


def test_the_empty_certificate_is_nobodys(tmp_path: Path) -> None:
    found = revocations(tmp_path / "revoked.json", '{"workload": ["spiffe://a/c"]}')
    assert not found.workload(Workload("spiffe://a/b", "a"))
    assert found.workload(Workload("spiffe://a/c", "a"))


def test_each_kind_revokes_what_it_names() -> None:
    asked = {"digest": DIGEST, "jti": "t", "sub": "s", "kid": "k", "issued_at": 100.0}
    for kind, value in (("jti", "t"), ("subject", "s"), ("key", "k"), ("token", DIGEST)):
        found = followed()
        assert not found.token(**asked)
        assert found.learn([entry(kind, value)])
        assert found.epoch == 1
        assert found.token(**asked), kind
        assert not found.token(digest="d", jti="x", sub="x", kid="x", issued_at=100.0)
    found = followed()
    found.learn([entry("workload", "spiffe://a/c"), entry("workload", "thumbprint")])
    assert found.workload(Workload("spiffe://a/c", "a"))
    assert found.workload(Workload("spiffe://a/d", "a", certificate_sha256="thumbprint"))
    assert not found.workload(Workload("spiffe://a/d", "a"))


def test_a_revoked_token_takes_what_was_derived_from_it_along() -> None:
    def derived(*ancestors: str) -> bool:
        return found.token(digest="d", jti="child", sub="s", kid="k", issued_at=1.0, ancestors=ancestors)

    found = followed()
    found.learn([entry("jti", "root"), entry("token", DIGEST)])
    assert derived("root", "middle")
    assert derived("other", "root")
    assert derived("sha256:" + DIGEST)
    assert not derived("other", "sha256:" + "b" * 64)
    assert not derived()


def test_a_subject_is_revoked_up_to_a_time() -> None:
    found = followed()
    found.learn([entry("subject", "s", before=99), entry("subject", "s", before=50)])
    assert asks(found, "", "s", "", issued_at=99)
    assert not asks(found, "", "s", "", issued_at=99.5)
    found.learn([entry("subject", "s")])
    assert asks(found, "", "s", "", issued_at=1e12)


def test_each_entry_is_forgotten_at_its_own_time() -> None:
    clock = ManualClock()
    found = followed(clock)
    found.learn([entry("subject", "s", NOW + 10), entry("subject", "s", NOW + 20, before=99), entry("jti", "t")])
    clock.advance(10)
    found.forget()
    assert not asks(found, "", "s", "", issued_at=100)
    assert asks(found, "", "s", "", issued_at=99)
    clock.advance(10)
    epoch = found.epoch
    found.forget()
    assert found.epoch == epoch + 1
    assert not asks(found, "", "s", "", issued_at=99)
    assert asks(found, "t")
    found.forget()
    assert found.epoch == epoch + 1
    assert found.numbers()["entries"] == dict.fromkeys(KINDS, 0) | {"jti": 1}


def test_nothing_told_twice_moves_the_epoch() -> None:
    found = followed()
    found.learn([entry(), entry(until=NOW + 50), entry("jti", "old", NOW)])
    assert found.epoch == 1
    found.learn([entry(), entry(until=NOW + 99)])
    assert found.epoch == 1
    assert len(found.learned()) == 1
    found.learn([entry(until=NOW + 200)])
    assert [known.until for known in found.learned()] == [NOW + 200]


def test_file_and_feed_are_one(tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    file.write_text("jti: [a]\nsub: {s: 99}")
    found = followed(file=file)
    found.learn([entry("jti", "b"), entry("subject", "s", before=50)])
    assert asks(found, "a", "", "")
    assert asks(found, "b", "", "")
    assert asks(found, "", "s", "", issued_at=99)
    file.write_text("jti: [c]")
    assert found.reload()
    assert not asks(found, "a", "", "")
    assert asks(found, "b", "", "")
    assert asks(found, "c", "", "")
    assert asks(found, "", "s", "", issued_at=50)
    assert not asks(found, "", "s", "", issued_at=51)


def test_stale_until_heard_and_when_not_heard_for_long() -> None:
    clock = ManualClock()
    found = followed(clock)
    assert found.stale
    found.heard(3)
    assert not found.stale
    clock.advance(59.9)
    assert not found.stale
    clock.advance(0.1)
    assert found.stale
    assert found.numbers() == {"sequence": 3, "entries": dict.fromkeys(KINDS, 0), "age": 60.0, "stale": True}
    found.heard(3, age=59)
    assert not found.stale
    clock.advance(1)
    assert found.stale


def test_never_stale_without_a_source() -> None:
    clock = ManualClock()
    found = Revocations(RevocationSettings(), clock)
    clock.advance(1e9)
    assert not found.stale
    assert found.numbers()["age"] is None


def test_a_file_that_stays_broken_makes_stale(tmp_path: Path) -> None:
    clock = ManualClock()
    file = tmp_path / "revoked.yaml"
    file.write_text("jti: [t]")
    found = Revocations(RevocationSettings(file=file), clock)
    for _ in range(3):
        clock.advance(50)
        found.reload()
        assert not found.stale
    file.write_text("{")
    for _ in range(2):
        clock.advance(29)
        found.reload()
        assert not found.stale
    clock.advance(2)
    found.reload()
    assert found.stale
    assert asks(found)
    file.write_text("{}")
    assert found.reload()
    assert not found.stale
    clock.advance(60)
    assert found.stale, "nobody looks any more"


def test_no_room_is_stale_at_once() -> None:
    clock = ManualClock()
    found = followed(clock, max_entries=100)
    found.heard(0)
    assert not found.learn([entry("jti", f"t{n}", NOW + 10 + n) for n in range(101)])
    assert found.stale
    assert asks(found, "t0", "", "")
    clock.advance(20)
    found.forget()
    assert len(found.learned()) == 89
    assert found.learn([entry("jti", "t100")])
    assert found.stale, "until the source is heard in full again"
    found.heard(101)
    assert not found.stale


def test_a_reload_takes_nothing_back() -> None:
    clock = ManualClock()
    former = followed(clock)
    former.learn([entry()])
    former.heard(4)
    clock.advance(30)
    same, other = followed(clock), Revocations(RevocationSettings(redis={"url": "unix:///s"}), clock)
    for fresh in (same, other):
        fresh.inherit(former)
        assert asks(fresh, "t", "", "")
    assert not same.stale
    assert other.stale
    clock.advance(30)
    assert same.stale


def test_a_reload_with_less_room_is_stale() -> None:
    former = followed()
    former.learn([entry("jti", f"t{n}") for n in range(101)])
    former.heard(101)
    fresh = followed(max_entries=100)
    fresh.inherit(former)
    assert fresh.stale


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feed": FEED, "redis": {"url": "unix:///s"}}, "exclude each other"),
        ({"snapshot": "revoked.json"}, "neither"),
        ({"file": "revoked.json", "interval": "1m"}, "less than max_age"),
        ({"feed": {"url": "http://authority.bank.example/v1/revocations"}}, "plain http"),
        ({"feed": {"url": FEED["url"] + "?after=1"}}, "no query"),
        ({"max_age": "2h"}, "3600"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RevocationSettings(**settings)
