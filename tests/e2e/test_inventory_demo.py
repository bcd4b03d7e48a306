"""`extauthz inventory` and `extauthz token` against a running platform: what it did is what its configuration says."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import yaml

from extauthz.demo.lab import Lab
from extauthz.demo.platform import Platform
from extauthz.demo.runner import Runner
from extauthz.demo.zones import ADMINISTRATION, EDGE, MODEL, ORCHESTRATION

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.opa,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def command(*words: object, stdin: str = "") -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", *map(str, words)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    out, err = await process.communicate(stdin.encode())
    said = Said(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in said.err, said.err
    assert not stdin or stdin not in said.err, "a token in an error text"
    return said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab():
    """A platform after requests with each kind of credential, and after some that were refused."""
    async with Platform() as platform:
        lab = Lab(platform)
        await Runner(platform, lab).warm_up()
        token = await lab.sign_in()
        limits = {"audience": ADMINISTRATION, "purpose": "administration", "scope": "limits.write", "acr": "mfa"}
        opaque, key = await lab.sign_in("frank", **limits), platform.credentials.api_key
        allowed = [
            await lab.edge(opaque, {"amount": 1}, path="/v1/limits/wire", method="PUT"),
            await lab.edge(None, path="/v1/rates", method="GET", headers=[("x-api-key", key)]),
        ]
        assert all(answer.status == 200 for answer in allowed), allowed
        refused = [
            await lab.edge(None, lab.transfer()),
            await lab.edge(token, lab.transfer(tenant="globex")),
            await lab.edge(token, lab.transfer(), path="/nowhere"),
            await lab.edge(lab.user(exp=1_700_000_000), lab.transfer()),
            await lab.decide(lab.svid(MODEL), lab.hop(MODEL, ORCHESTRATION)),
        ]
        assert all(answer.status >= 400 for answer in refused), refused
        yield lab
        await lab.close()


def files_of(root: Path) -> list[Path]:
    return sorted([*root.glob("*/extauthz.yaml"), *root.glob("*/agent.yaml")])


async def compared(files: list[Path], records: str) -> Said:
    """Until what was done has been written: records are written in their own time."""
    for _ in range(40):
        said = await command("inventory", *files, "--json", "--observed", records)
        used = said.json["observed"]["used"] if said.out else {}
        if used.get("storage/read-features", {}).get("allowed") and used["edge/create-transfer"]["denied"] >= 2:
            return said
        await asyncio.sleep(0.1)
    return said


async def test_what_was_done_is_what_is_documented(lab: Lab):
    root = lab.platform.layout.root
    said = await compared(files_of(root), f"{root}/*/records.jsonl*")
    seen = said.json["observed"]
    assert (said.code, seen["sound"], seen["undocumented"]) == (0, True, [])
    whole = {"edge/create-transfer", "edge/call-orchestration", "orchestration/decide-transfer"}
    whole |= {
        "edge/change-limit",
        "edge/read-rates",
        "orchestration/call-model",
        "model/score-transfer",
        "model/call-storage",
        "storage/read-features",
    }
    assert all(seen["used"][path]["allowed"] for path in whole)
    assert seen["codes"]["edge/create-transfer"].keys() >= {"token.missing", "token.expired"}
    assert "workload.route_denied" in seen["codes"]["orchestration/decide-transfer"]
    assert {"model/score-with-version", "storage-staging/read-features"} <= set(seen["unused"])
    assert not whole & set(seen["unused"])
    said = await command("inventory", *files_of(root), "--observed", f"{root}/*/records.jsonl")
    assert said.code == 0
    assert said.out.rstrip().endswith("no undocumented path")


async def test_a_route_that_is_not_in_the_configuration_is_named(lab: Lab, tmp_path: Path):
    root = lab.platform.layout.root
    await compared(files_of(root), f"{root}/*/records.jsonl*")
    settings = yaml.safe_load((root / "model" / "extauthz.yaml").read_text())
    settings["routes"] = [route for route in settings["routes"] if route["name"] != "score-transfer"]
    given = tmp_path / "model.yaml"
    given.write_text(yaml.safe_dump(settings))
    others = [file for file in files_of(root) if file != root / "model" / "extauthz.yaml"]
    # Rotated and packed records are records.
    (tmp_path / "records.jsonl.1.gz").write_bytes(gzip.compress((root / "model" / "records.jsonl").read_bytes()))
    said = await command("inventory", *others, given, "--json", "--observed", f"{tmp_path}/records.jsonl*")
    (found,) = said.json["observed"]["undocumented"]
    assert said.code == 3
    assert found["way"] == {
        "server": "model",
        "route": "score-transfer",
        "workload": ORCHESTRATION.id,
        "credential": "jwt",
        "issuer": lab.platform.layout.authority,
    }
    assert (found["why"], found["allowed"] > 0) == ("the configuration has no such route", True)


async def explained(lab: Lab, zone: str, route: str, token: str, *more: object, config: Path | None = None) -> Any:
    file = config or lab.platform.layout.root / zone / "extauthz.yaml"
    said = await command("token", "explain", "--config", file, "--route", route, "--json", *more, stdin=token)
    assert token not in said.out
    story = said.json
    assert said.code == (0 if story["accepted"] else 1)
    return story


def pem(identity: Any, file: Path) -> Path:
    file.write_bytes(identity.certificate)
    return file


async def test_why_a_route_takes_a_token_or_not(lab: Lab, tmp_path: Path):
    user = await lab.sign_in()
    story = await explained(lab, "edge", "create-transfer", user)
    assert (story["accepted"], story["subject"]["id"], story["notes"]) == (True, "alice", [])
    story = await explained(lab, "edge", "call-orchestration", user)  # by our own service, with the server's own SVID
    assert (story["accepted"], story["workload"], story["notes"]) == (True, EDGE.id, [])
    story = await explained(lab, "edge", "create-transfer", lab.user(exp=1_700_000_000, iat=1_699_999_900))
    assert (story["code"], story["step"]) == ("token.expired", "it is valid now, and not for too long")
    assert story["remedy"]

    shown = pem(lab.svid(EDGE), tmp_path / "edge.pem")
    story = await explained(lab, "orchestration", "decide-transfer", user, "--certificate", shown)
    assert (story["code"], story["status"]) == ("token.audience", 401)
    assert [one["name"] for one in story["differences"]] == ["aud"]

    bound = lab.hop(EDGE, ORCHESTRATION)
    story = await explained(lab, "orchestration", "decide-transfer", bound, "--certificate", shown)
    assert (story["accepted"], story["workload"], story["subject"]["act"]) == (True, EDGE.id, [EDGE.id])
    other = pem(lab.platform.credentials.ca.svid(EDGE.id), tmp_path / "other.pem")
    story = await explained(lab, "orchestration", "decide-transfer", bound, "--certificate", other)
    assert (story["code"], story["step"]) == (
        "transport.binding_mismatch",
        "the peer holds the certificate that it is bound to",
    )
    stranger = pem(lab.svid(MODEL), tmp_path / "model.pem")
    story = await explained(lab, "orchestration", "decide-transfer", bound, "--certificate", stranger)
    assert (story["code"], story["step"]) == ("workload.route_denied", "the caller's route")
    story = await explained(lab, "orchestration", "decide-transfer", bound)
    assert story["code"] == "transport.binding_mismatch"
    assert "--certificate" in story["notes"][0]


async def test_an_opaque_token_and_an_api_key_are_explained_as_well(lab: Lab):
    frank = await lab.sign_in("frank", audience=ADMINISTRATION, purpose="administration", scope="limits.write")
    weak = await explained(lab, "edge", "change-limit", frank)
    assert (weak["code"], weak["step"]) == ("token.step_up", "the sign-in is strong and recent enough")
    strong = await lab.sign_in(
        "frank", audience=ADMINISTRATION, purpose="administration", scope="limits.write", acr="mfa"
    )
    story = await explained(lab, "edge", "change-limit", strong)
    assert (story["accepted"], story["subject"]["credential"]) == (True, "opaque")
    story = await explained(lab, "edge", "read-rates", lab.platform.credentials.api_key)
    assert (story["accepted"], story["subject"]["id"]) == (True, "partner-rates")


async def test_a_file_of_revocations_counts(lab: Lab, tmp_path: Path):
    user = await lab.sign_in()
    told = (await command("token", "inspect", "--json", stdin=user)).json
    settings = yaml.safe_load((lab.platform.layout.root / "edge" / "extauthz.yaml").read_text())
    (tmp_path / "revoked.yaml").write_text(yaml.safe_dump({"jti": [told["claims"]["jti"]]}))
    settings["revocation"]["file"] = str(tmp_path / "revoked.yaml")
    (tmp_path / "edge.yaml").write_text(yaml.safe_dump(settings))
    story = await explained(lab, "edge", "create-transfer", user, config=tmp_path / "edge.yaml")
    assert (story["code"], story["step"]) == ("token.revoked", "it is not revoked")


async def test_sign_in_exchange_revoke(lab: Lab):
    root = lab.platform.layout.root
    agent, server = root / "edge" / "agent.yaml", root / "edge" / "extauthz.yaml"
    said = await command("token", "sign-in", "alice", "--audience", EDGE.audience, "--config", agent)
    assert (said.code, said.err, said.out.count("\n")) == (0, "", 1)
    user = said.out.strip()
    wanted = ("--audience", ORCHESTRATION.audience, "--scope", "transfers.write", "--config", server)
    said = await command("token", "exchange", *wanted, "--json", stdin=user)
    assert said.code == 0, said.err
    assert (said.json["token_type"], said.json["scope"]) == ("Bearer", "transfers.write")
    hop = said.json["access_token"]
    told = (await command("token", "inspect", "--json", stdin=hop)).json
    assert (told["act"], told["form"]["ok"], len(told["ancestors"])) == ([EDGE.id], True, 1)

    said = await command("token", "exchange", "--audience", MODEL.audience, "--config", server, stdin=user)
    assert (said.code, said.out) == (1, "")
    assert "invalid_target" in said.err
    assert "exchange_to" in said.err

    said = await command(
        "token", "revoke", "--socket", f"unix://{root}/edge/agent.sock", "--config", server, stdin=user
    )
    assert (said.code, said.err) == (0, "")
    for token in (user, hop):
        found = await explained(lab, "edge" if token is user else "orchestration", _route(token is user), token)
        assert found["code"] in {"token.revoked", "transport.binding_mismatch"}
    assert (await explained(lab, "edge", "create-transfer", user))["code"] == "token.revoked"


def _route(edge: bool) -> str:
    return "create-transfer" if edge else "decide-transfer"


async def test_standing_privilege_of_the_platform_is_a_list_and_an_exit_code(lab: Lab):
    said = await command("inventory", *files_of(lab.platform.layout.root), "--standing", "--json", "--fail-on-standing")
    kinds = {one["kind"] for one in said.json["standing"]}
    assert said.code == 2
    assert kinds >= {"api_key", "fallback_anchor", "development_user", "join_token", "static_secret"}
    assert all(one["why"] and one["remedy"] for one in said.json["standing"])
