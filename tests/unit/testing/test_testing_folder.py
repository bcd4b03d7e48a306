from __future__ import annotations

import json
import shutil
import stat

import pytest
import yaml
from cryptography import x509

from extauthz.check.own_identity import ServerIdentity
from extauthz.clock import ManualClock, SystemClock
from extauthz.config import load
from extauthz.errors import ConfigError, ExtauthzError
from extauthz.testing import Folder, prepare

SERVER = {"listen": "127.0.0.1:9191", "http": "127.0.0.1:9190"}


def _prepare(sample, **more) -> Folder:
    return prepare(sample / "extauthz.yaml", sample / "made", server=SERVER, **more)


def _mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _edit(sample, **blocks):
    file = sample / "extauthz.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **blocks}))


def test_routes_and_policy_are_the_project_s(sample):
    made = load(_prepare(sample).settings)
    ours = load(sample / "extauthz.yaml")
    assert made.routes == ours.routes
    assert made.attributes == ours.attributes
    assert made.environment == ours.environment
    for name in ("payments.rego", "roles/data.yaml", "reasons/data.yaml"):
        assert (made.policy.path / "payments" / name).read_bytes() == (
            sample / "policies" / "payments" / name
        ).read_bytes()
    assert not (made.policy.path / "payments" / "payments_test.rego").exists()


def test_credentials_are_the_tests_own(sample):
    folder = _prepare(sample)
    config, credentials = load(folder.settings), folder.credentials()
    issuer = config.issuers[0]
    assert issuer.issuer == "https://issuer.bank.example"
    assert issuer.outbound_urls == ()
    assert json.loads(issuer.jwks.file.read_text()) == credentials.mints["bank"].jwks()
    trusted = config.workload.trust_domains["bank.example"].trust_bundle
    assert trusted.read_bytes() == credentials.authorities["bank.example"].trust_bundle


def test_nothing_of_production_is_carried_over(sample):
    source = {
        "kind": "http",
        "name": "register",
        "url": "https://register.bank.example/x",
        "bearer_token_file": "register.token",
        "fields": {"a": {"from": "/a"}},
    }
    _edit(
        sample,
        server={"tls": {"certificate": "c.pem", "private_key": "k.pem", "client_ca": "ca.pem"}, "workers": 4},
        revocation={"file": "/run/extauthz/revoked.yaml"},
        outbound={"trust_bundle": "private.pem"},
        attributes={
            "sources": [*yaml.safe_load((sample / "extauthz.yaml").read_text())["attributes"]["sources"], source]
        },
    )
    config = load(_prepare(sample).settings)
    assert config.server.tls is None
    assert config.server.workers == 1
    assert config.revocation.file.read_text() == "{}"
    assert config.outbound.trust_bundle is None
    assert config.attributes.sources[1].bearer_token_file == ""


def test_a_trust_bundle_that_the_file_leaves_to_envoy_is_left_to_envoy(sample):
    _edit(sample, workload={"trust_domains": {"bank.example": {}}})
    folder = _prepare(sample)
    assert load(folder.settings).workload.trust_domains["bank.example"].trust_bundle is None
    assert folder.credentials().peer("spiffe://bank.example/env/prod/ns/a/sa/b").id.endswith("/sa/b")


async def test_the_server_s_own_identity_is_one_of_the_tests(sample):
    workload = {"trust_domains": {"bank.example": {"trust_bundle": "identity"}}}
    _edit(sample, workload=workload, identity={"socket": "unix:///run/agent.sock"})
    config = load(_prepare(sample).settings)
    own = ServerIdentity(config.identity, SystemClock())
    await own.start()
    assert own.ready
    assert own.leaf.uri == "spiffe://bank.example/extauthz"
    assert config.workload.trust_domains["bank.example"].trust_bundle.name == "bank.example.trust.pem"
    await own.close()


def test_the_server_may_read_all_of_its_part_and_write_records_alone(sample):
    folder = _prepare(sample)
    assert all(
        _mode(path) == (0o755 if path.is_dir() else 0o644)
        for path in folder.server.rglob("*")
        if path != folder.records
    )
    assert _mode(folder.records) == 0o666
    assert _mode(folder.keys) == 0o700
    assert all(_mode(path) == 0o600 for path in folder.keys.iterdir())
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in folder.server.rglob("*") if path.is_file())


def test_the_server_s_part_works_wherever_it_is_mounted(sample, tmp_path):
    folder = _prepare(sample)
    there = shutil.copytree(folder.server, tmp_path / "elsewhere")
    shutil.rmtree(sample)
    config = load(there / "extauthz.yaml")
    assert config.policy.path == there / "policies"
    assert config.issuers[0].jwks.file.is_file()


def test_preparing_again_takes_the_new_policy_and_keeps_the_keys(sample):
    before = _prepare(sample)
    keys = {path.name: path.read_bytes() for path in before.keys.iterdir()}
    before.records.write_text("kept\n")
    (sample / "policies" / "payments" / "roles" / "data.yaml").unlink()
    after = _prepare(sample)
    assert {path.name: path.read_bytes() for path in after.keys.iterdir()} == keys
    assert after.records.read_text() == "kept\n"
    assert not (after.server / "policies" / "payments" / "roles").exists()
    assert sorted(path.name for path in after.server.iterdir() if path.name.startswith(".")) == []


def test_an_authority_whose_day_is_over_is_made_anew(sample):
    clock = ManualClock()
    before = _prepare(sample, clock=clock).credentials(clock).authorities["bank.example"]
    clock.advance(86_400)
    after = _prepare(sample, clock=clock).credentials(clock).authorities["bank.example"]
    assert after.trust_bundle != before.trust_bundle
    assert after.ends > clock.now()


def test_the_project_changes_what_it_wants(sample):
    def change(settings):
        settings["environment"] = "test"

    assert load(_prepare(sample, change=change, engine="embedded").settings).environment == "test"
    assert load(sample / "made" / "server" / "extauthz.yaml").policy.engine == "embedded"
    assert load(sample / "extauthz.yaml").environment == "prod"


def test_problems_name_the_project_s_own_file_and_line(sample):
    file = sample / "extauthz.yaml"
    file.write_text(file.read_text().replace("environment: prod", "enviroment: prod"))
    with pytest.raises(ConfigError, match=r"sample/extauthz\.yaml:4: enviroment"):
        _prepare(sample)
    assert not (sample / "made").exists()


def test_a_change_that_breaks_the_file_is_refused(sample):
    def change(settings):
        settings["routes"][0]["policy"] = 7

    with pytest.raises(ConfigError, match=r"made/server/extauthz\.yaml:\d+: routes\[0\]\.policy"):
        _prepare(sample, change=change)


def test_a_folder_that_was_not_prepared_says_what_to_do(tmp_path):
    with pytest.raises(ExtauthzError, match=r"python -m extauthz\.testing prepare"):
        Folder(tmp_path).credentials()


def test_a_folder_that_cannot_be_written(sample):
    (sample / "made").write_text("a file")
    with pytest.raises(ExtauthzError, match="cannot be prepared"):
        _prepare(sample)


def test_remedies_are_those_of_the_policy_s_table(sample):
    (sample / "policies" / "data.yaml").write_text("- [")
    folder = _prepare(sample)
    assert folder.remedy("attribute.tenant_mismatch") == "Pay from an account of your own tenant."
    assert folder.remedy("attribute.unheard_of") == ""
    assert folder.remedy("treasurer") == ""


def test_a_server_that_other_hosts_reach_has_tls(sample):
    far = {"listen": "0.0.0.0:9191", "http": "127.0.0.1:9190"}
    with pytest.raises(ConfigError, match=r"server\.listen"):
        prepare(sample / "extauthz.yaml", sample / "made", server=far)
    folder = prepare(sample / "extauthz.yaml", sample / "made", server=far, tls="extauthz")
    tls = load(folder.settings).server.tls
    authority, key, certificate = folder.client()
    root = x509.load_pem_x509_certificate(authority)
    assert authority == tls.client_ca.read_bytes()
    server = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    server.verify_directly_issued_by(root)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["extauthz", "server.extauthz.test"]
    x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(root)
    assert b"PRIVATE KEY" in key
    assert "extauthz.test" not in load(folder.settings).workload.trust_domains


def test_certificates_of_the_connection_last_as_long_as_their_authority(sample):
    clock = ManualClock()
    first = _prepare(sample, tls="extauthz", clock=clock).client()
    clock.advance(3600)
    assert _prepare(sample, tls="extauthz", clock=clock).client() == first
    clock.advance(82_800)
    assert _prepare(sample, tls="extauthz", clock=clock).client() != first


def test_without_tls_there_is_no_client_certificate(sample):
    assert _prepare(sample).client() is None
