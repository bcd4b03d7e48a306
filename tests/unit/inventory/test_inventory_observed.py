"""Records against a configuration: what is documented, what is not, what is never used; bounded, packed, torn."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.errors import ExtauthzError
from extauthz.inventory import observe, observed
from extauthz.inventory.records import LONGEST_LINE
from tests.support.inventory import MODEL, server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extauthz.inventory import Inventory


def record(**changes: Any) -> dict[str, Any]:
    return {
        "type": "check",
        "labels": {"zone": "storage", "host": "a"},
        "subject": {"type": "user", "id": "alice", "credential": "jwt", "issuer": "https://issuer.example"},
        "workload": MODEL,
        "action": "features.read",
        "resource": {"type": "features", "id": ""},
        "request": {"route": "read-features"},
        "code": "",
        "result": {"allow": True},
        **changes,
    }


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


@pytest.fixture
def found(made: Callable[..., Inventory]) -> Inventory:
    return made(storage=server())


def test_what_is_documented(found: Inventory, tmp_path: Path):
    denied = record(result={"allow": False}, code="token.expired", subject=None)
    seen = observe(found, [written(tmp_path / "r", record(), record(), denied)])
    assert (seen.sound, seen.records, seen.unused) == (True, 3, [])
    tally = seen.used["storage/read-features"]
    assert (tally.allowed, tally.denied) == (2, 1)
    assert seen.codes == {"storage/read-features": {"token.expired": 1}}


SUBJECT = record()["subject"]
STRANGE = {
    "another workload": ({"workload": MODEL + "-b"}, "the workload is none of the route's callers"),
    "no workload": ({"workload": ""}, "the workload is none of the route's callers"),
    "another route": ({"request": {"route": "delete-features"}}, "the configuration has no such route"),
    "another server": ({"labels": {"zone": "edge"}}, "no configuration given writes records with these labels"),
    "another issuer": ({"subject": {**SUBJECT, "issuer": "https://evil"}}, "the issuer is none of the route's"),
    "another kind": ({"subject": {**SUBJECT, "credential": "opaque"}}, "the route takes another kind of credential"),
    "nobody": ({"subject": None}, "the route takes another kind of credential"),
    "another action": ({"action": "features.delete"}, "the route does something else in the configuration"),
    "another resource": ({"resource": {"type": "limits"}}, "the route does something else in the configuration"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_not(found: Inventory, tmp_path: Path, name: str):
    changes, why = STRANGE[name]
    seen = observe(found, [written(tmp_path / "r", record(), record(**changes), record(**changes))])
    (one,) = seen.undocumented
    assert (one.why, one.allowed, seen.sound) == (why, 2, False)


def test_what_was_refused_is_no_path(found: Inventory, tmp_path: Path):
    tried = record(request={"route": "none"}, result={"allow": False}, code="request.route_unknown", subject=None)
    seen = observe(found, [written(tmp_path / "r", record(), tried)])
    assert (seen.sound, seen.undocumented, seen.refused[0].denied) == (True, [], 1)


def test_a_route_that_nobody_uses(found: Inventory, tmp_path: Path):
    denied = record(result={"allow": False}, code="role.denied")
    assert observe(found, [written(tmp_path / "r", denied)]).unused == ["storage/read-features"]


def test_of_a_used_route_what_nobody_uses(made: Callable[..., Inventory], tmp_path: Path):
    pattern = "spiffe://bank.example/env/prod/ns/*/sa/scorer"
    token = {"issuers": ["main", "second"], "audiences": ["storage"], "introspect": "opaque"}
    settings = server(route={"workloads": [MODEL, MODEL + "-b", pattern], "token": token})
    main = {**settings["issuers"][0], "introspection": {"url": "https://issuer.example/i", "client": "mtls"}}
    second = {**settings["issuers"][0], "name": "second", "issuer": "https://second.example"}
    settings |= {"issuers": [main, second], "identity": {"socket": "unix:///run/agent.sock"}}
    seen = observe(made(storage=settings), [written(tmp_path / "r", record())])
    assert [(one.part, one.value) for one in seen.unused_parts] == [
        ("caller", MODEL + "-b"),
        ("credential", "opaque"),
        ("issuer", "https://second.example"),
    ]


def test_nothing_seen_is_nothing_proved(found: Inventory, tmp_path: Path):
    assert not observe(found, [written(tmp_path / "r")]).sound


def test_of_two_servers_with_one_label_the_one_that_has_the_route(made: Callable[..., Inventory], tmp_path: Path):
    one, other = server(), server(route={"name": "list-features"})
    seen = observe(
        made(a=one, b=other), [written(tmp_path / "r", record(), record(request={"route": "list-features"}))]
    )
    assert (seen.sound, set(seen.used)) == (True, {"storage/read-features", "storage-2/list-features"})


def test_a_record_that_was_cut(found: Inventory, tmp_path: Path):
    """It has neither labels nor the kind of credential (`record._shortened`)."""
    kept = {name: record()[name] for name in ("type", "workload", "request", "code", "result")}
    cut = {**kept, "cut": True, "subject": {"type": "user", "id": "alice"}}
    assert observe(found, [written(tmp_path / "r", cut)]).sound
    seen = observe(found, [written(tmp_path / "r", {**cut, "workload": MODEL + "-b"})])
    assert len(seen.undocumented) == 1


def test_questions_of_applications_are_no_paths(found: Inventory, tmp_path: Path):
    asked = record(subject={"type": "user", "id": "bob", "credential": "asserted"}, workload="")
    seen = observe(found, [written(tmp_path / "r", record(), asked)])
    assert (seen.sound, seen.questions, seen.records) == (True, 1, 1)


def test_packed_torn_and_foreign_lines(found: Inventory, tmp_path: Path):
    line = json.dumps(record()).encode()
    long = b'{"type": "check", "x": "' + b"A" * 3 * LONGEST_LINE + b'"}'
    lines = [line, line[:40], b"", b"\xff\xfe", b'{"type": "comparison"}', b"[1]", b'{"type":"check"}', long, line]
    (tmp_path / "r.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    seen = observe(found, [tmp_path / "r.gz"])
    assert (seen.records, seen.skipped, seen.sound) == (2, 6, True)


def test_what_is_kept_is_bounded_and_the_verdict_is_not(
    found: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(observed, "MAX_WAYS", 3)
    records = [record(workload=f"{MODEL}-{number}") for number in range(10)]
    seen = observe(found, [written(tmp_path / "r", record(), *records)])
    assert (len(seen.undocumented), seen.unlisted.allowed, seen.sound) == (3, 7, False)
    # A flood of attempts does not push out what was let through.
    tried = [record(request={"route": f"x{number}"}, result={"allow": False}) for number in range(10)]
    seen = observe(found, [written(tmp_path / "r", *tried, records[0])])
    assert ([one.way.workload for one in seen.undocumented], len(seen.refused)) == ([f"{MODEL}-0"], 3)


@pytest.mark.parametrize("content", [b"\x1f\x8bbroken", None])
def test_a_file_that_cannot_be_read(found: Inventory, tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "r").write_bytes(content)
    with pytest.raises(ExtauthzError, match="cannot be read"):
        observe(found, [tmp_path / "r"])
