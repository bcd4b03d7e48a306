"""`extauthz policy build`, `diff`, `replay` and `record`, as their users run them."""

from __future__ import annotations

import json
import shutil

import orjson
import pytest
from typer.testing import CliRunner

from extauthz.cli.policy import app
from extauthz.errors import ConfigError
from extauthz.policy.archive import Limits
from extauthz.policy.authoring.bundling import BuildOptions, build
from extauthz.policy.authoring.diffing import diff
from extauthz.policy.bundle import open_bundle
from tests.support.bank import GATEWAY, POLICIES, TRANSFER, open_bank
from tests.support.bundles import CASES, POLICY, Signer
from tests.support.parts import require_embedded, require_opa

pytestmark = [pytest.mark.opa, pytest.mark.embedded]


@pytest.fixture(autouse=True)
def parts():
    require_opa()
    require_embedded()


def run(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture
def demo(tmp_path):
    root = tmp_path / "policy"
    (root / "demo").mkdir(parents=True)
    (root / "demo" / "policy.rego").write_text(POLICY)
    (root / "demo" / "policy_test.rego").write_text("package demo_test\n\ntest_x if true\n")
    (root / "demo" / "data.yaml").write_text("# who may\nallowed: [clerk]\n")
    (root / "demo" / "cases.yaml").write_text(CASES)
    return root


@pytest.fixture
def changed(tmp_path):
    """The shipped policies, to be edited."""

    def edit(*edits: tuple[str, str, str]):
        root = tmp_path / "changed"
        shutil.copytree(POLICIES, root)
        for name, before, after in edits:
            text = (root / name).read_text()
            assert before in text
            (root / name).write_text(text.replace(before, after))
        return root

    return edit


def test_build_writes_a_signed_bundle(demo, tmp_path):
    signer = Signer("ci")
    (tmp_path / "key.pem").write_bytes(signer.private_pem)
    place = tmp_path / "out.tar.gz"
    code, text = run(
        "build", demo, "-o", place, "--sequence", 4, "--revision", "v4", "--root", "demo",
        "--sign-key", tmp_path / "key.pem", "--sign-key-id", "ci",
    )  # fmt: skip
    assert code == 0, text
    assert "revision v4, sequence 4" in text
    assert "2 decision cases passed, signed by ci" in text
    found = open_bundle(place.read_bytes(), "out", trust=signer.trust, limits=Limits())
    assert (found.policy.revision, found.sequence, found.signed_by) == ("v4", 4, "ci")
    assert sorted(found.policy.files) == ["data.json", "demo/policy.rego"]
    assert found.policy.files["data.json"] == b'{"demo":{"allowed":["clerk"]}}'


def test_build_is_deterministic_and_names_its_contents(demo, tmp_path):
    code, text = run("build", demo, "-o", tmp_path / "a.tar.gz", "--json")
    first = json.loads(text)
    (demo / "demo" / "policy.rego").touch()
    run("build", demo, "-o", tmp_path / "b.tar.gz")
    assert code == 0
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    (demo / "demo" / "data.yaml").write_text("allowed: [clerk, boss]\n")
    _, text = run("build", demo, "-o", tmp_path / "c.tar.gz", "--json")
    assert json.loads(text)["revision"] != first["revision"]


def test_build_refuses_a_policy_that_fails_its_own_cases(demo, tmp_path):
    (demo / "demo" / "data.yaml").write_text("allowed: [guest]\n")
    with pytest.raises(ConfigError, match="a_clerk_may"):
        run("build", demo, "-o", tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("demo/policy.rego", POLICY + '\nx if regex.match("(a*)*", input.y)\n', "regular expression"),
        ("demo/policy.rego", "package demo\n\nallow if\n", "rego_parse_error"),
        ("other.rego", "package other\n\nx := 1\n", "roots"),
    ],
)
def test_build_refuses_what_no_server_would_take(demo, file, text, why):
    (demo / file).write_text(text)
    (demo / "demo" / "cases.yaml").unlink()
    with pytest.raises(ConfigError, match=why):
        build(demo, BuildOptions(roots=("demo",)))


def test_the_projection_in_the_manifest_is_the_policys(demo):
    from extauthz.policy import archive  # noqa: PLC0415 - one use

    made = build(demo, BuildOptions())
    manifest = orjson.loads(archive.unpack(made.packed, Limits())[".manifest"])["metadata"]["extauthz"]
    assert manifest["entrypoints"] == ["demo/decision"]
    assert manifest["projection"]["demo/decision"]["input"] == ["input.subject.properties.role"]


def test_diff_names_every_widened_rule_with_an_example(changed):
    new = changed(
        ("extauthz/abac/amount.rego", "properties.amount <= limit", "properties.amount <= limit * 2"),
        ("extauthz/abac/amount.rego", "properties.amount > 0", "properties.amount > -5"),
        ("extauthz/abac/tenant.rego", 'status == "active"', 'status in {"active", "suspended"}'),
        ("extauthz/tables/masking/data.yaml", "debtor_iban: restricted", "debtor_iban: internal"),
    )
    found = diff(POLICIES, new, budget=40_000, threads=2)
    widened = {(one.kind, one.code, rule) for one in found.widened for rule in one.rules}
    assert {
        (
            "denied_to_allowed",
            "attribute.amount_limit",
            "data.extauthz.abac.amount.outcome (extauthz/abac/amount.rego:10)",
        ),
        (
            "denied_to_allowed",
            "attribute.amount_invalid",
            "data.extauthz.abac.amount.valid (extauthz/abac/amount.rego:22)",
        ),
        (
            "denied_to_allowed",
            "attribute.tenant_suspended",
            "data.extauthz.abac.tenant.outcome (extauthz/abac/tenant.rego:8)",
        ),
        ("less_masked", "", "extauthz/tables/masking/data.yaml"),
    } <= widened
    for one in found.widened:
        assert one.example["action"]["name"]
        assert one.origin
    negative = [one for one in found.widened if one.code == "attribute.amount_invalid"]
    assert all(-5 < one.example["resource"]["properties"]["amount"] <= 0 for one in negative)


def test_diff_of_equal_policies_is_empty(tmp_path):
    made = build(POLICIES, BuildOptions())
    (tmp_path / "same.tar.gz").write_bytes(made.packed)
    code, text = run("diff", POLICIES, tmp_path / "same.tar.gz", "--budget", 2000, "--json")
    assert code == 0, text
    found = json.loads(text)
    assert found["asked"] == 2000
    assert found["differences"] == found["entrypoints_gone"] == found["entrypoints_added"] == []


def test_diff_tells_what_narrows_and_does_not_fail(changed):
    new = changed(("extauthz/tables/limits/data.yaml", "wire: {EUR: 50000", "wire: {EUR: 5"))
    code, text = run("diff", POLICIES, new, "--budget", 3000)
    assert code == 0, text
    assert "narrowed: allowed before, denied now (attribute.amount_limit), at extauthz/payments/decision" in text
    assert "by extauthz/tables/limits/data.yaml" in text
    assert "WIDENED" not in text


def test_diff_without_any_case_grows_its_own_inputs(demo, tmp_path):
    (demo / "demo" / "cases.yaml").unlink()
    shutil.copytree(demo, tmp_path / "new")
    (tmp_path / "new" / "demo" / "data.yaml").write_text("allowed: [clerk, boss]\n")
    code, text = run("diff", demo, tmp_path / "new", "--budget", 500)
    assert code == 1
    assert '"role": "boss"' in text
    assert "WIDENED: denied before, allowed now (role.denied), at demo/decision" in text


async def recorded(directory, **records) -> list[dict]:
    """What a real worker writes for requests that end in many ways."""
    telemetry = {"records": {"output": "./records.jsonl", "interval": "1ms", "input": "projected", **records}}
    bank = await open_bank(directory, telemetry=telemetry)
    try:
        for amount in (10, 1200, 9999, 75_000, -1, "much"):
            await bank.ask(body={**TRANSFER, "amount": amount})
        for claims in ({"roles": []}, {"tenant": "umbrella"}, {"region": "us"}, {"roles": ["auditor"]}):
            await bank.ask(bank.token(**claims))
        await bank.ask("")
        await bank.ask(caller=GATEWAY.replace("gateway", "other"))
    finally:
        await bank.close()
    return bank.records()


async def test_replay_agrees_with_what_was_recorded(tmp_path):
    records = await recorded(tmp_path)
    with_input = [one for one in records if "input" in one]
    assert len(with_input) >= 9
    assert {one["code"] for one in with_input} > {"", "attribute.amount_limit"}
    assert all(one["code"].startswith(("token.", "workload.", "")) for one in records if "input" not in one)
    code, text = run("replay", tmp_path / "records.jsonl", "--policy", POLICIES, "--json")
    found = json.loads(text)
    assert code == 0, text
    assert (found["compared"], found["same"], found["different"]) == (len(with_input), len(with_input), 0)
    assert found["skipped"] == {"no_input": len(records) - len(with_input)}


async def test_replay_tells_what_a_candidate_changes(tmp_path, changed):
    await recorded(tmp_path)
    new = changed(
        ("extauthz/abac/amount.rego", "properties.amount <= limit", "properties.amount <= limit * 2"),
        ("extauthz/tables/limits/data.yaml", "  wire: {EUR: 10000", "  wire: {EUR: 1000"),
    )
    code, text = run("replay", tmp_path / "records.jsonl", "--policy", new, "--json")
    assert code == 1
    kinds = {
        (one["kind"], one["code"], one["tenant"], one["route"]): one["records"]
        for one in json.loads(text)["differences"]
    }
    assert all(key[3] == "create-transfer" for key in kinds)
    assert {("allowed_to_denied", "attribute.four_eyes", "acme", "create-transfer")} <= kinds.keys()
    for option, expected in (("wider", {0, 1}), ("narrower", {1}), ("none", {0})):
        code, _ = run("replay", tmp_path / "records.jsonl", "--policy", new, "--fail-on", option)
        assert code in expected


async def test_masked_values_are_recorded_as_digests_and_not_compared(tmp_path, changed):
    records = await recorded(tmp_path, mask=["resource.properties.amount", "subject.properties.roles"])
    text = (tmp_path / "records.jsonl").read_text()
    assert "wire-operator" not in text
    assert "75000" not in text
    masked = [one["input"]["resource"]["properties"]["amount"] for one in records if "input" in one]
    assert all(value.startswith("masked:") for value in masked)
    assert len(set(masked)) > 1
    code, text = run("replay", tmp_path / "records.jsonl", "--policy", POLICIES, "--json")
    assert code == 2
    assert json.loads(text)["skipped"]["masked"] == len(masked)


async def test_recorded_decisions_become_cases_that_pass(tmp_path):
    await recorded(tmp_path)
    code, text = run(
        "record", tmp_path / "extauthz.yaml", "--cases", tmp_path / "cases", "--output", tmp_path / "some.jsonl"
    )
    assert code == 0, text
    copy = tmp_path / "policies"
    shutil.copytree(POLICIES, copy)
    shutil.copytree(tmp_path / "cases", copy / "from_production")
    before, after = build(POLICIES, BuildOptions()), build(copy, BuildOptions())
    assert len(after.cases) > len(before.cases) + 5
    assert run("replay", tmp_path / "some.jsonl", "--policy", copy)[0] == 0


def test_nothing_to_compare_is_not_a_success(tmp_path):
    (tmp_path / "r.jsonl").write_bytes(b'{"type":"check"}\nnot json\n\n{"torn":')
    code, text = run("replay", tmp_path / "r.jsonl", "--policy", POLICIES)
    assert code == 2
    assert "3 not compared: not decision records" in text


def test_a_hundred_thousand_records_and_their_rate(tmp_path, capsys):
    """As many as the promise names; one question in ten is new, as records of a service are."""
    template = {
        "type": "check", "path": "extauthz/payments/decision", "revision": "r", "request": {"route": "create-transfer"},
        "layer": "attribute", "code": "attribute.amount_limit", "result": {"allow": False},
    }  # fmt: skip
    document = orjson.loads((POLICIES / "fixtures" / "payments_deny_amount_limit.json").read_bytes())
    with (tmp_path / "r.jsonl").open("wb") as file:
        for index in range(100_000):
            document["resource"]["properties"]["amount"] = 75_000 + index % 10_000
            file.write(orjson.dumps({**template, "decision_id": f"{index:08x}", "input": document}) + b"\n")
    code, text = run("replay", tmp_path / "r.jsonl", "--policy", POLICIES, "--json")
    found = json.loads(text)
    assert (code, found["compared"], found["different"]) == (0, 100_000, 0)
    with capsys.disabled():
        print(  # noqa: T201 - the rate is what it is for
            f"\nreplay: {found['records']:,} records in {found['seconds']} s, {found['records_per_minute']:,} a minute"
        )


async def test_replay_tells_what_no_record_holds(tmp_path, changed):
    await recorded(tmp_path)
    known = "subject.known(input.resource.properties.tenant)"
    more = f"given if {{\n\tinput.subject.properties.acr\n\t{known}\n}}"
    new = changed(("extauthz/abac/tenant.rego", f"given if {known}", more))
    code, text = run("replay", tmp_path / "records.jsonl", "--policy", new, "--recorded-by", POLICIES)
    assert code == 1
    assert "also reads what no record holds, seen as missing here: input.subject.properties.acr" in text
