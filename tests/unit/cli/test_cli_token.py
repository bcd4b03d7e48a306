"""`extauthz token`: what is shown of a token, what never is, and which step of a route refuses it. No network."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from extauthz.cli import app
from extauthz.cli.token.described import words
from extauthz.demo.dev_ca import DevCa
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = "https://issuer.example"
EDGE = "spiffe://bank.example/env/dev/ns/edge/sa/gateway"


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*words_: object, stdin: str = "") -> Said:
    done = CliRunner().invoke(app, ["token", *map(str, words_)], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(claims: Any, header: Any = None) -> str:
    return f"{b64(header or {'alg': 'ES256', 'kid': 'k', 'typ': 'at+jwt'})}.{b64(claims)}.{b64(b'signature')}"


class TestInspect:
    def test_a_jwt_says_what_it_says_unverified(self):
        text = token(
            {
                "iss": ISSUER,
                "sub": "alice",
                "exp": 1_000_000_000,
                "act": {"sub": "b", "act": {"sub": "a"}},
                "cnf": {"x5t#S256": "A" * 43},
                "ancestors": ["root"],
            }
        )
        found = command("inspect", "--json", stdin=f"Bearer {text}\n")
        told = found.json
        assert (found.code, told["kind"], told["verified"], told["form"]) == (0, "jwt", False, {"ok": True})
        assert (told["act"], told["ancestors"], told["bound_to"]) == (["b", "a"], ["root"], f"certificate {'A' * 43}")
        assert told["times"][0]["at"] == "2001-09-09T01:46:40Z"
        assert told["times"][0]["words"].startswith("ended ")
        assert text not in found.out
        plain = command("inspect", stdin=text)
        assert "NOT VERIFIED" in plain.out
        assert text not in plain.out
        assert text.rpartition(".")[2] not in plain.out

    @pytest.mark.parametrize(
        ("text", "kind", "says"),
        [
            ("xak_partner1_" + "A" * 43, "api_key", "public part is partner1"),
            ("xat_" + "A" * 43, "opaque", "opaque token of our authority"),
            ("xat_cut", "unknown", "cut off"),
            ("a.b.c.d.e", "jwe", "encrypted"),
            ("2YotnFZFEjr1zCsicMWpAA", "opaque", "no JWT"),
        ],
    )
    def test_the_others_are_known_by_their_form(self, text: str, kind: str, says: str):
        found = command("inspect", "--json", stdin=text)
        assert (found.json["kind"], says in found.json["says"]) == (kind, True)
        assert text not in found.out

    @pytest.mark.parametrize(
        "text",
        [
            token({"iss": ISSUER}, {"alg": "none"}),
            token({"iss": ISSUER}, {"alg": "ES256", "jku": "https://evil"}),
            token([1]),
            "a.b.c",
            "..",
            f"{b64(b'{}')}.{b64(b'[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]')}.x",
            token({"act": {"act": {"sub": 1}}, "cnf": {"jkt": "x"}, "exp": 10**15, "iat": True}),
            "é.é.é",
        ],
    )
    def test_a_form_that_is_refused_is_told_and_nothing_breaks(self, text: str):
        found = command("inspect", "--json", stdin=text)
        assert (found.code, found.json["kind"]) == (0, "jwt")
        assert "form" in found.json
        assert command("inspect", stdin=text).code == 0

    def test_a_claim_moves_no_cursor_and_gives_no_token_away(self):
        inner = token({"sub": "inside"})
        text = token({"sub": "\x1b[31mred\x1b[0m", "\u202eevil": "[bold]x[/bold]", "nested": inner})
        for found in (command("inspect", stdin=text), command("inspect", "--json", stdin=text)):
            assert "\x1b" not in found.out
            assert "\u202e" not in found.out
            assert inner not in found.out

    def test_where_a_token_comes_from(self, tmp_path: Path):
        text = token({"sub": "alice"})
        refused = command("inspect", text)
        assert (refused.code, text in refused.err) == (2, False)
        assert "seen by everybody" in refused.err
        (tmp_path / "token").write_text(text)
        assert command("inspect", "--json", f"@{tmp_path}/token").json["claims"]["sub"] == "alice"
        assert "cannot be read" in command("inspect", f"@{tmp_path}/none").err
        assert command("inspect", stdin="").code == 2
        assert "no token" in command("inspect", stdin="A" * 20_000).err

    @pytest.mark.parametrize(
        ("name", "left", "said"),
        [
            ("exp", 252, "ends in 4m 12s"),
            ("exp", -3661, "ended 1h 1m ago"),
            ("iat", -5, "issued 5s ago"),
            ("exp", 0, "ended 0s ago"),
        ],
    )
    def test_times_in_words(self, name: str, left: float, said: str):
        assert words(name, left) == said


def settings(folder: Path, **changes: Any) -> Path:
    """A server whose issuer's keys are those of `mint --jwks`."""
    config = {
        "version": 1,
        "environment": "dev",
        "workload": {"trust_domains": {"bank.example": {"trust_bundle": "ca.pem"}}},
        "issuers": [{"name": "main", "issuer": ISSUER, "algorithms": ["ES256"], "jwks": {"file": "jwks.json"}}],
        "revocation": {"file": "revoked.yaml"},
        "policy": {"path": "policies"},
        "routes": [
            route("pay", public=True, token=rule(scopes=["pay"], purposes=["payment"])),
            route("bound", workloads=[EDGE], token=rule(binding="required")),
            route("dataset", workloads=[EDGE], credential="workload"),
        ],
        **changes,
    }
    (folder / "revoked.yaml").write_text("{}")
    path = folder / "extauthz.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(config))))
    return path


def rule(**changes: Any) -> dict[str, Any]:
    return {"issuers": ["main"], "audiences": ["payments"], **changes}


def route(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "action": "transfer.create",
        "resource": {"type": "transfer"},
        "policy": "extauthz/payments/decision",
        **changes,
    }


GOOD = ("--issuer", ISSUER, "--subject", "alice", "--audience", "payments", "--scope", "pay", "--purpose", "payment")


@pytest.fixture
def server(tmp_path: Path) -> Path:
    ca = DevCa("bank.example")
    (tmp_path / "ca.pem").write_bytes(ca.trust_bundle)
    (tmp_path / "edge.pem").write_bytes(ca.svid(EDGE).certificate)
    (tmp_path / "other.pem").write_bytes(ca.svid(EDGE).certificate)
    (tmp_path / "foreign.pem").write_bytes(DevCa("bank.example").svid(EDGE).certificate)
    return settings(tmp_path)


def minted(server: Path, *more: object) -> str:
    made = command("mint", *GOOD, "--new-key", "--jwks", server.parent / "jwks.json", *more)
    assert made.code == 0, made.err
    assert "for development" in made.err
    assert made.out.strip() not in made.err
    return made.out.strip()


def explained(server: Path, route_: str, text: str, *more: object) -> dict[str, Any]:
    said = command("explain", "--config", server, "--route", route_, "--json", *more, stdin=text)
    story: dict[str, Any] = said.json
    assert said.code == (0 if story["accepted"] else 1)
    assert text not in said.out + said.err
    return story


class TestExplain:
    def test_a_good_token_is_accepted(self, server: Path):
        story = explained(server, "pay", minted(server))
        assert (story["accepted"], story["subject"]["id"], story["subject"]["scopes"]) == (True, "alice", ["pay"])
        said = command("explain", "-c", server, "-r", "pay", stdin=minted(server))
        assert "the token layer accepts it as user alice" in said.out

    @pytest.mark.parametrize(
        ("more", "code", "step", "differs"),
        [
            (["--lifetime", "-100"], "token.expired", "it is valid now, and not for too long", []),
            (["--lifetime", "80000"], "token.lifetime", "it is valid now, and not for too long", []),
            (["--claim", 'aud="other"'], "token.audience", "audience, scopes, purpose and claims fit", ["aud"]),
            (["--claim", "scope=read"], "token.scope", "audience, scopes, purpose and claims fit", ["scope"]),
            (["--claim", "purpose=fun"], "token.purpose", "audience, scopes, purpose and claims fit", ["purpose"]),
            (["--claim", "iss=https://evil"], "token.issuer", "its issuer is one of the route's", ["iss", "typ"]),
            (["--typ", "jwt"], "token.type", "its algorithm and type are accepted", ["typ"]),
            (["--claim", "jti=null"], "token.claims", "audience, scopes, purpose and claims fit", []),
        ],
    )
    def test_the_step_that_refuses_is_named(
        self, server: Path, more: list[str], code: str, step: str, differs: list[str]
    ):
        story = explained(server, "pay", minted(server, *more))
        assert (story["code"], story["step"]) == (code, step)
        assert [one["name"] for one in story["differences"]] == differs
        assert story["remedy"]

    def test_a_signature_that_is_wrong_and_a_key_that_is_not_known(self, server: Path):
        text = minted(server)
        head, body, _ = text.split(".")
        other = minted(server).rpartition(".")[2]
        minted(server)
        assert explained(server, "pay", text)["code"] == "token.key_unknown"
        text = minted(server)
        head, body, _ = text.split(".")
        assert explained(server, "pay", f"{head}.{body}.{other}")["step"] == "the signature is right"
        assert explained(server, "pay", "xat_" + "A" * 43)["step"] == "its form is that of a token"

    def test_a_binding_is_checked_against_the_certificate(self, server: Path):
        here = server.parent
        text = minted(server, "--bind", here / "edge.pem")
        assert explained(server, "bound", text, "--certificate", here / "edge.pem")["accepted"]
        story = explained(server, "bound", text, "--certificate", here / "other.pem")
        assert (story["code"], story["status"]) == ("transport.binding_mismatch", 401)
        story = explained(server, "bound", text, "--certificate", here / "foreign.pem")
        assert (story["code"], story["step"]) == ("transport.certificate_untrusted", "the caller's workload")
        story = explained(server, "bound", text)
        assert (story["code"], "--certificate" in story["notes"][0]) == ("transport.binding_mismatch", True)
        loose = explained(server, "bound", minted(server), "--certificate", here / "edge.pem")
        assert loose["code"] == "transport.binding_missing"

    def test_the_file_of_revocations_counts(self, server: Path):
        text = minted(server)
        jti = command("inspect", "--json", stdin=text).json["claims"]["jti"]
        (server.parent / "revoked.yaml").write_text(yaml.safe_dump({"jti": [jti]}))
        story = explained(server, "pay", text)
        assert (story["code"], story["step"]) == ("token.revoked", "it is not revoked")

    def test_a_route_without_a_token_says_so(self, server: Path):
        story = explained(server, "dataset", minted(server), "--certificate", server.parent / "edge.pem")
        assert (story["accepted"], "credential: workload" in story["notes"][0]) == (True, True)

    def test_what_cannot_be_asked(self, server: Path):
        said = command("explain", "-c", server, "-r", "nope", stdin="x")
        assert (said.code, "pay, bound, dataset" in said.err) == (2, True)
        (server.parent / "none.pem").write_text("nothing")
        said = command("explain", "-c", server, "-r", "pay", "--certificate", server.parent / "none.pem", stdin="x")
        assert (said.code, "no PEM certificate" in said.err) == (2, True)
        with pytest.raises(ConfigError):
            command("explain", "-c", server.parent / "absent.yaml", "-r", "pay", stdin="x")


class TestMint:
    def test_only_in_development(self, tmp_path: Path, server: Path):
        prod = settings(tmp_path, environment="prod")
        made = command("mint", *GOOD, "--new-key", "--jwks", tmp_path / "j.json", "--config", prod)
        assert (made.code, made.out, "environment prod" in made.err) == (2, "", True)
        made = command("mint", *GOOD, "--new-key", "--jwks", tmp_path / "j.json", "--config", prod, "--unsafe")
        assert (made.code, made.out.count(".")) == (0, 2)

    def test_the_configuration_that_lies_here_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        settings(tmp_path, environment="staging")
        (tmp_path / "jwks.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
        assert command("mint", *GOOD, "--new-key", "--jwks", "j.json").code == 2

    def test_actors_and_claims(self, server: Path):
        text = minted(server, "--act", "b", "--act", "a", "--claim", 'roles=["x"]', "--claim", "tenant=acme")
        told = command("inspect", "--json", stdin=text).json
        assert (told["act"], told["claims"]["roles"], told["claims"]["tenant"]) == (["b", "a"], ["x"], "acme")

    @pytest.mark.parametrize("more", [(), ("--new-key",), ("--key", "absent.pem"), ("--key", "bad.pem")])
    def test_the_key_must_be_one_that_can_be_verified(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "bad.pem").write_text("not a key")
        made = command("mint", *GOOD, *more)
        assert (made.code, made.out) == (2, "")


class TestService:
    """What is said before anybody is asked; the rest: tests/e2e/test_inventory_demo.py."""

    def test_whom_to_ask(self):
        for verb in (["exchange", "--audience", "x"], ["revoke"], ["sign-in", "alice", "--audience", "x"]):
            said = command(*verb, stdin="token")
            assert (said.code, "say which authority" in said.err) == (2, True)
            assert command(*verb, "--authority", "http://plain", stdin="token").code == 2

    def test_an_svid_is_needed(self):
        for verb in (["exchange", "--audience", "x"], ["revoke"]):
            said = command(*verb, "--authority", "https://authority.example", stdin="the-token")
            assert (said.code, "--socket" in said.err, "the-token" in said.err) == (1, True, False)

    def test_a_socket_has_its_form(self):
        said = command("revoke", "--authority", "https://a.example", "--socket", "/run/x", stdin="token")
        assert (said.code, "unix:///path" in said.err) == (2, True)
