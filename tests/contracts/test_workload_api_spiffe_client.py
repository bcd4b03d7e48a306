"""Others' client against our server: the `spiffe` package of PyPI, X.509 and JWT, updates pushed."""

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import SpiffeId, TrustDomain, WorkloadApiClient
from spiffe._proto import workload_pb2
from spiffe.workloadapi.errors import FetchJwtSvidError, FetchX509SvidError, ValidateJwtSvidError

from extauthz import protobuf
from extauthz.clock import SystemClock
from extauthz.workload_api import messages
from extauthz.workload_api.identity import to_der
from extauthz.workload_api.server import WorkloadApi
from tests.support.identities import Domain, Tokens, served, until


@pytest.fixture
async def lab(tmp_path):
    domain = Domain()
    api = WorkloadApi(Tokens(domain), SystemClock())
    address = f"unix://{tmp_path}/w.sock"
    async with served(api.methods(), address):
        client = await asyncio.to_thread(WorkloadApiClient, address, 10.0)
        try:
            yield domain, api, client
        finally:
            await asyncio.to_thread(client.close)


def test_the_descriptor_set_is_the_proto_files():
    assert messages.DESCRIPTORS.read_bytes() == protobuf.compile_protos(messages.PROTOS)


@pytest.mark.parametrize("name", sorted(workload_pb2.DESCRIPTOR.message_types_by_name))
def test_names_and_numbers_are_the_specifications(name):
    theirs = {f.name: (f.number, f.type) for f in workload_pb2.DESCRIPTOR.message_types_by_name[name].fields}
    ours = protobuf.load(messages.DESCRIPTORS)(name).DESCRIPTOR
    assert {f.name: (f.number, f.type) for f in ours.fields} == theirs


async def test_x509_context(lab):
    domain, api, client = lab
    partner = Domain("partner.example")
    identity = domain.identity(federated=[partner])
    api.publish(identity)
    context = await asyncio.to_thread(client.fetch_x509_context)
    svid = context.default_svid
    assert svid.spiffe_id == SpiffeId("spiffe://bank.example/app")
    assert svid.leaf.public_bytes(Encoding.DER) == identity.svid.chain_der()
    assert svid.private_key.private_numbers() == identity.svid.key.private_numbers()
    for one in (domain, partner):
        found = context.x509_bundle_set.get_bundle_for_trust_domain(TrustDomain(one.name))
        assert to_der(list(found.x509_authorities)) == to_der(one.bundle().authorities)


async def test_a_new_svid_and_a_new_trust_bundle_are_pushed(lab):
    domain, api, client = lab
    api.publish(domain.identity())
    seen, errors = [], []
    handler = await asyncio.to_thread(client.stream_x509_contexts, seen.append, errors.append)
    await until(lambda: seen)
    assert (api.streams, api.acknowledged()) == (1, 1)
    domain.rotate()
    renewed = domain.identity(sequence=2)
    api.publish(renewed)
    await until(lambda: len(seen) == 2)
    assert seen[1].default_svid.leaf.serial_number == int(renewed.svid.serial, 16)
    authorities = seen[1].x509_bundle_set.get_bundle_for_trust_domain(TrustDomain(domain.name)).x509_authorities
    assert len(authorities) == 2
    await until(lambda: api.acknowledged() == 2)
    await asyncio.to_thread(handler.cancel)
    await until(lambda: api.streams == 0)
    assert api.acknowledged() is None
    assert not errors


async def test_jwt_svid_and_bundles(lab):
    domain, api, client = lab
    api.publish(domain.identity())
    svid = await asyncio.to_thread(client.fetch_jwt_svid, {"db"})
    assert (svid.spiffe_id, svid.audience) == (SpiffeId("spiffe://bank.example/app"), {"db"})
    bundles = await asyncio.to_thread(client.fetch_jwt_bundles)
    bundle = bundles.get_bundle_for_trust_domain(TrustDomain(domain.name))
    assert bundle.get_jwt_authority("k1").public_numbers() == domain.jwt_key.public_key().public_numbers()
    validated = await asyncio.to_thread(client.validate_jwt_svid, svid.token, "db")
    assert validated.spiffe_id == svid.spiffe_id
    for token, audience in (
        (svid.token, "other"),
        (domain.token(life=-60), "db"),
        (svid.token[:-8] + "AAAAAAAA", "db"),
    ):
        with pytest.raises(ValidateJwtSvidError):
            await asyncio.to_thread(client.validate_jwt_svid, token, audience)


async def test_nothing_is_given_while_there_is_no_identity(lab):
    _, _, client = lab
    with pytest.raises(FetchX509SvidError, match="PERMISSION_DENIED"):
        await asyncio.to_thread(client.fetch_x509_svid)
    with pytest.raises(FetchJwtSvidError, match="PERMISSION_DENIED"):
        await asyncio.to_thread(client.fetch_jwt_svid, {"db"})


async def test_an_svid_of_somebody_else_is_not_given(lab):
    domain, api, client = lab
    api.publish(domain.identity())
    with pytest.raises(FetchJwtSvidError, match="PERMISSION_DENIED"):
        await asyncio.to_thread(client.fetch_jwt_svid, {"db"}, SpiffeId("spiffe://bank.example/other"))


def test_the_ssl_module_reads_the_chain(tmp_path):
    """The chain's PEM is leaf first, as OpenSSL wants it."""
    identity = Domain().identity()
    assert ssl.PEM_cert_to_DER_cert(identity.svid.chain_pem().decode()) == identity.svid.chain_der()
