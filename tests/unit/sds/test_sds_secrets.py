"""What is pushed, and what must never be."""

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from extauthz.sds import messages
from extauthz.sds.names import NAMES
from extauthz.sds.secrets import Material, Secrets, SecretsError
from extauthz.sds.session import MAX_NAMES, Session
from extauthz.sds.wire import Delta, StateOfTheWorld, StreamRefused
from tests.support.identities import Domain, material

DOMAIN = Domain()
GOOD = material(DOMAIN.identity())


def changed(**members):
    fields = {name: getattr(GOOD, name) for name in ("spiffe_id", "chain", "key", "trust", "sequence")}
    return Material(**{**fields, **members})


@pytest.mark.parametrize(
    "bad",
    [
        {"key": material(DOMAIN.identity()).key},
        {"chain": material(DOMAIN.identity()).chain},
        {"chain": b""},
        {"key": b""},
        {"chain": GOOD.key},
        {"key": GOOD.chain},
    ],
    ids=["key", "chain", "no-chain", "no-key", "key-as-chain", "chain-as-key"],
)
def test_what_does_not_fit_together_is_not_pushed(bad):
    with pytest.raises(SecretsError) as caught:
        Secrets(changed(**bad))
    assert "PRIVATE" not in str(caught.value)


def test_a_key_is_not_shown():
    assert "PRIVATE" not in repr(GOOD)
    assert "PRIVATE" not in repr(Secrets(GOOD).get("default"))


def test_a_version_is_the_contents():
    one, same, other = Secrets(GOOD), Secrets(changed(sequence=9)), Secrets(material(DOMAIN.identity()))
    assert one.get("default").version == same.get("default").version != other.get("default").version
    assert one.get("ROOTCA").version == other.get("ROOTCA").version


def test_trust_that_is_taken_away_is_pushed_as_an_authority_that_signs_nothing():
    empty = Secrets(changed(trust={"bank.example": b""}))
    secret = messages.Secret.FromString(empty.get("ROOTCA").content)
    (nobody,) = x509.load_pem_x509_certificates(secret.validation_context.trusted_ca.inline_bytes)
    assert nobody not in DOMAIN.bundle().authorities
    assert Secrets(changed(trust={"bank.example": b""})).get("ROOTCA").version == empty.get("ROOTCA").version
    config = messages.SpiffeCertValidatorConfig()
    validator = messages.Secret.FromString(empty.get("ALL").content).validation_context.custom_validator_config
    config.ParseFromString(validator.typed_config.value)
    assert config.trust_domains[0].trust_bundle.inline_bytes == secret.validation_context.trusted_ca.inline_bytes


@given(st.text(max_size=64))
def test_no_other_name_has_a_secret(name):
    found = Secrets(GOOD).get(name)
    assert (found is not None) == (name in NAMES or name in {"spiffe://bank.example", GOOD.spiffe_id})


@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from([StateOfTheWorld(), Delta()]))
def test_any_bytes_are_a_request_or_refused(requests, variant):
    session, secrets = Session(variant), Secrets(GOOD)
    for message in requests:
        try:
            session.receive(message)
        except StreamRefused:
            return
        session.due(secrets)
        assert len(session.names) <= MAX_NAMES


def test_what_was_refused_is_not_sent_again_unchanged():
    session, secrets = Session(StateOfTheWorld()), Secrets(GOOD)
    session.receive(messages.DiscoveryRequest(resource_names=["ROOTCA"]).SerializeToString())
    answer = messages.DiscoveryResponse.FromString(session.due(secrets))
    no = messages.DiscoveryRequest(resource_names=["ROOTCA"], response_nonce=answer.nonce)
    no.error_detail.message = "no\nERROR forged line"
    session.receive(no.SerializeToString())
    assert session.due(secrets) is None
    assert (session.rejecting, session.in_force) == (True, None)
    session.receive(messages.DiscoveryRequest(resource_names=[]).SerializeToString())
    session.receive(messages.DiscoveryRequest(resource_names=["ROOTCA"]).SerializeToString())
    assert session.due(secrets) is not None, "asked for anew, it is answered anew"
