"""`extauthz break-glass`: what it issues is what a server takes; what a server would refuse is not issued."""

from __future__ import annotations

import copy
import json
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from extauthz.authn.break_glass import Grants
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import RevocationSettings
from extauthz.cli import app
from extauthz.clock import SystemClock
from extauthz.config import load
from extauthz.model import Subject
from tests.support.bank import route, settings
from tests.support.tokens import ISSUER, Issuer, generate

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"


@dataclass
class Said:
    code: int
    out: str
    err: str


def command(*words: object, stdin: str = "") -> Said:
    done = CliRunner().invoke(app, ["break-glass", *map(str, words)], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration, and a key that it lists."""
    made = command("keygen", tmp_path / "key.pem", "--kid", "oncall-lead", "--unencrypted")
    assert made.code == 0, made.err
    (tmp_path / "grants.json").write_text(made.out)
    write(tmp_path)
    return tmp_path


def write(directory: Path, **changes: Any) -> None:
    config = settings(
        "embedded",
        break_glass={"keys": "grants.json", "audience": "bank/prod"},
        routes=[route("create-transfer", break_glass=True), route("plain", match={"path": "/v1/plain"})],
    )
    (directory / "extauthz.yaml").write_text(yaml.safe_dump({**config, **changes}))


def issue(place: Path, *words: object, stdin: str = "", **changes: str) -> Said:
    options = {"route": "create-transfer", "subject": "alice", "ticket": "INC-1", "reason": "down", **changes}
    named = [part for name, value in options.items() if value for part in (f"--{name}", value)]
    return command("issue", "--key", place / "key.pem", "-c", place / "extauthz.yaml", *named, *words, stdin=stdin)


def verdict(place: Path, grant: str, subject: Subject) -> Any:
    config = load(place / "extauthz.yaml")
    assert config.break_glass is not None
    clock = SystemClock()
    grants = Grants(config.break_glass, Revocations(RevocationSettings(), clock), clock)
    return grants.verify(grant, "create-transfer", subject)


def test_what_is_issued_is_taken_and_is_all_of_stdout(place: Path) -> None:
    done = issue(place, "--for", "15m", "--uses", 2)
    assert done.code == 0, done.err
    (grant,) = done.out.splitlines()
    found = verdict(place, grant, Subject("user", "alice", "jwt", issuer=ISSUER))
    assert (found.ticket, found.reason, found.kid, found.uses) == ("INC-1", "down", "oncall-lead", 2)
    assert found.id in done.err
    assert grant not in done.err


def test_a_workload_needs_no_issuer(place: Path) -> None:
    grant = issue(place, subject=GATEWAY).out.strip()
    who = Subject("workload", GATEWAY, "workload", issuer="spiffe://bank.example")
    assert not isinstance(verdict(place, grant, who), str)


def test_the_reason_is_asked_for_beside_the_grant(place: Path) -> None:
    done = issue(place, reason="", stdin="the plant stands still\n")
    assert done.code == 0, done.err
    assert "Reason" in done.err
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"route": "nowhere"}, "no route is called nowhere"),
        ({"route": "plain"}, "has no `break_glass: true`"),
        ({"for": "2h"}, "max_duration"),
        ({"for": "soon"}, "duration"),
        ({"for": "100ms"}, "at least one second"),
        ({"ticket": "a\nb"}, "ticket"),
        ({"subject": "a\x00b"}, "sub "),
        ({"reason": "x" * 300}, "reason"),
    ],
)
def test_what_a_server_would_refuse_is_not_issued(place: Path, changes: dict[str, str], words: str) -> None:
    done = issue(place, **changes)
    assert done.code != 0
    assert words in done.err
    assert not done.out


def test_a_key_that_no_server_lists_signs_nothing(place: Path) -> None:
    (place / "grants.json").write_text(json.dumps(Issuer(kid="somebody").jwks()))
    done = issue(place)
    assert (done.code, done.out) == (1, "")
    assert "does not list this key" in done.err


def test_a_key_of_another_kind_or_no_key_says_so(place: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    rsa = generate("RS256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (rsa, b"no key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"):
        (place / "key.pem").write_bytes(content)
        done = issue(place, stdin="wrong\n")
        assert done.code != 0
        assert not done.out


def test_several_issuers_want_the_subjects(place: Path) -> None:
    config = yaml.safe_load((place / "extauthz.yaml").read_text())
    other = {**copy.deepcopy(config["issuers"][0]), "name": "other", "issuer": "https://other.example"}
    config["issuers"].append(other)
    config["routes"][0]["token"]["issuers"].append("other")
    (place / "extauthz.yaml").write_text(yaml.safe_dump(config))
    assert "--subject-issuer" in issue(place).err
    grant = issue(place, "--subject-issuer", "https://other.example").out.strip()
    assert verdict(place, grant, Subject("user", "alice", "jwt", issuer=ISSUER)) == "for another subject"
    assert not isinstance(verdict(place, grant, Subject("user", "alice", "jwt", issuer="https://other.example")), str)


def test_inspect_says_whether_a_server_would_take_it(place: Path) -> None:
    grant = issue(place).out.strip()
    done = command("inspect", "-c", place / "extauthz.yaml", "--json", stdin=grant)
    told = json.loads(done.out)
    assert (done.code, told["ok"], told["kid"], told["claims"]["ticket"]) == (0, True, "oncall-lead", "INC-1")
    head, payload, _ = grant.split(".")
    for bad in (f"{head}.{payload}.AAAA", "garbage", f"{head}.{payload}"):
        done = command("inspect", "-c", place / "extauthz.yaml", stdin=bad)
        assert done.code == 1
        assert payload not in done.out + done.err
    assert "stdin" in command("inspect", grant, "-c", place / "extauthz.yaml").err


def test_a_key_is_its_holders_alone_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    done = command("keygen", file, "--kid", "alice", stdin="secret\nsecret\n")
    assert done.code == 0, done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert b"ENCRYPTED" in before
    assert "d" not in json.loads(done.out)["keys"][0]
    again = command("keygen", file, "--kid", "alice", "--unencrypted")
    assert (again.code, again.out, file.read_bytes()) == (2, "", before)


def test_an_encrypted_key_asks_for_its_passphrase(place: Path) -> None:
    file = place / "own.pem"
    made = command("keygen", file, "--kid", "alice", stdin="secret\nsecret\n")
    (place / "grants.json").write_text(made.out)
    file.replace(place / "key.pem")
    assert len(issue(place, stdin="secret\n").out.splitlines()) == 1
    assert issue(place, stdin="other\n").code == 2


def test_without_a_section_there_is_nothing_to_issue(place: Path) -> None:
    config = yaml.safe_load((place / "extauthz.yaml").read_text())
    del config["break_glass"], config["routes"][0]["break_glass"]
    (place / "extauthz.yaml").write_text(yaml.safe_dump(config))
    assert "no `break_glass` section" in issue(place).err
