"""SDS over a real gRPC connection, spoken by Envoy's own message definitions (`envoy-data-plane`): ours are a subset."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from extauthz import protobuf
from extauthz.sds import messages
from extauthz.sds.server import SecretServer
from extauthz.tasks import Tasks
from tests.support import envoy_messages
from tests.support.identities import Domain, material, served, until

discovery = envoy_messages.module("envoy.service.discovery.v3")
tls = envoy_messages.module("envoy.extensions.transport_sockets.tls.v3")
DeltaDiscoveryRequest, DeltaDiscoveryResponse = discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse
DiscoveryRequest, DiscoveryResponse = discovery.DiscoveryRequest, discovery.DiscoveryResponse
Node, Status = envoy_messages.core.Node, envoy_messages.module("google.rpc").Status
STREAM, DELTA, FETCH = (f"/{messages.SERVICE}/{name}" for name in ("StreamSecrets", "DeltaSecrets", "FetchSecrets"))


@asynccontextmanager
async def server(tmp_path, **how):
    tasks = Tasks()
    found = SecretServer(tasks, **how)
    try:
        async with (
            served(found.methods(), f"unix://{tmp_path}/sds.sock"),
            grpc.aio.insecure_channel(f"unix://{tmp_path}/sds.sock") as channel,
        ):
            yield found, channel
    finally:
        await tasks.close()


class Stream:
    """One state-of-the-world stream."""

    def __init__(self, channel):
        self.call = channel.stream_stream(STREAM)()

    async def ask(self, *names, nonce="", error="", version=""):
        detail = Status(code=3, message=error) if error else None
        request = DiscoveryRequest(
            version_info=version,
            node=Node(id="envoy-1", cluster="test"),
            resource_names=list(names),
            type_url=messages.TYPE_URL,
            response_nonce=nonce,
            error_detail=detail,
        )
        await self.call.write(bytes(request))

    async def answer(self):
        async with asyncio.timeout(5):
            return DiscoveryResponse.parse(await self.call.read())

    async def silent(self):
        """Nothing comes: what is sent afterwards is the next to arrive."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await asyncio.shield(self._pending())

    def _pending(self):
        self.reading = asyncio.get_running_loop().create_task(self.call.read())
        return self.reading

    async def late(self):
        async with asyncio.timeout(5):
            return DiscoveryResponse.parse(await self.reading)


def secrets(response):
    assert response.type_url == messages.TYPE_URL
    assert all(one.type_url == messages.TYPE_URL for one in response.resources)
    found = [tls.Secret.parse(one.value) for one in response.resources]
    return {secret.name: secret for secret in found}


def test_the_descriptor_set_is_the_proto_files():
    assert messages.DESCRIPTORS.read_bytes() == protobuf.compile_protos(messages.PROTOS)


async def test_the_names(tmp_path):
    domain, partner = Domain(), Domain("partner.example")
    given = material(domain.identity(federated=[partner]))
    async with server(tmp_path, aliases={"app-cert": "default"}) as (sds, channel):
        sds.publish(given)
        stream = Stream(channel)
        own = ["default", "spiffe://bank.example/app", "app-cert"]
        trust = ["ROOTCA", "spiffe://bank.example", "spiffe://partner.example", "ALL"]
        await stream.ask(*own, *trust)
        found = secrets(await stream.answer())
    assert set(found) == {*own, *trust}
    for name in own:
        certificate = found[name].tls_certificate
        assert certificate.certificate_chain.inline_bytes == given.chain
        assert certificate.private_key.inline_bytes == given.key
        assert given.key.startswith(b"-----BEGIN PRIVATE KEY-----"), "PKCS#8"
    for name in ("ROOTCA", "spiffe://bank.example"):
        assert found[name].validation_context.trusted_ca.inline_bytes == given.trust["bank.example"]
    foreign = found["spiffe://partner.example"].validation_context
    assert foreign.trusted_ca.inline_bytes == given.trust["partner.example"]
    validator = found["ALL"].validation_context.custom_validator_config
    assert validator.name == "envoy.tls.cert_validator.spiffe"
    config = tls.SpiffeCertValidatorConfig.parse(validator.typed_config.value)
    assert {one.name: one.trust_bundle.inline_bytes for one in config.trust_domains} == given.trust


async def test_rootca_may_stand_for_all_trust_domains(tmp_path):
    """How Istio's proxies, which ask for ROOTCA alone, take part in a federation."""
    given = material(Domain().identity(federated=[Domain("partner.example")]))
    async with server(tmp_path, aliases={"ROOTCA": "ALL"}) as (sds, channel):
        sds.publish(given)
        stream = Stream(channel)
        await stream.ask("ROOTCA")
        found = secrets(await stream.answer())["ROOTCA"].validation_context.custom_validator_config
    assert len(tls.SpiffeCertValidatorConfig.parse(found.typed_config.value).trust_domains) == 2


async def test_answered_at_once_then_only_on_change(tmp_path):
    domain = Domain()
    async with server(tmp_path) as (sds, channel):
        sds.publish(material(domain.identity()))
        stream = Stream(channel)
        await stream.ask("default")
        first = await stream.answer()
        await stream.ask("default", nonce=first.nonce, version=first.version_info)
        await stream.silent()
        sds.publish(material(domain.identity(sequence=2)))
        second = await stream.late()
        assert (second.nonce, second.version_info) != (first.nonce, first.version_info)
        await stream.ask("default", "ROOTCA", nonce=second.nonce)
        assert set(secrets(await stream.answer())) == {"ROOTCA"}, "only what is new"


async def test_no_identity_yet(tmp_path):
    async with server(tmp_path) as (sds, channel):
        stream = Stream(channel)
        await stream.ask("default")
        await stream.silent()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(FETCH)(bytes(DiscoveryRequest(resource_names=["default"])))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        sds.publish(material(Domain().identity()))
        assert set(secrets(await stream.late())) == {"default"}


async def test_unknown_names_are_not_answered_and_end_nothing(tmp_path, caplog):
    async with server(tmp_path) as (sds, channel):
        sds.publish(material(Domain().identity()))
        stream = Stream(channel)
        unknown = ["", "kubernetes://x", "file-cert:/etc/passwd~/etc/shadow", "spiffe://other.example", "spiffe://"]
        await stream.ask(*unknown, "spiffe://bank.example/other")
        await stream.silent()
        await stream.ask("default", *unknown)
        assert set(secrets(await stream.late())) == {"default"}
    assert "file-cert:/etc/passwd" in caplog.text


async def test_accepted_refused_and_stale(tmp_path):
    domain = Domain()
    async with server(tmp_path) as (sds, channel):
        sds.publish(material(domain.identity()))
        stream = Stream(channel)
        await stream.ask("ROOTCA")
        first = await stream.answer()
        assert sds.acknowledged() is None
        await stream.ask("ROOTCA", nonce="made-up")  # stale: proves nothing
        await stream.ask("ROOTCA", nonce=first.nonce, error="I do not like it", version=first.version_info)
        await until(lambda: sds.answers == (0, 1))
        assert sds.acknowledged() is None
        domain.rotate()
        sds.publish(material(domain.identity(sequence=2)))
        second = await stream.answer()
        await stream.ask("ROOTCA", nonce=first.nonce)  # late answer to the first: accepts nothing
        await stream.silent()
        assert sds.answers == (0, 1)
        await stream.ask("ROOTCA", nonce=second.nonce)
        await until(lambda: sds.acknowledged() == 2)
        sds.publish(material(domain.identity(sequence=3)))  # nothing that this stream asked for has changed
        await until(lambda: sds.acknowledged() == 3)
        stream.call.cancel()
        stream.reading.cancel()
        await until(lambda: not sds.sessions)
        assert sds.acknowledged() is None
        assert sds.answers == (1, 1), "what closed streams said is still counted"


async def test_delta(tmp_path):
    domain = Domain()

    def ask(**members):
        return bytes(DeltaDiscoveryRequest(type_url=messages.TYPE_URL, **members))

    async with server(tmp_path) as (sds, channel):
        sds.publish(material(domain.identity()))
        call = channel.stream_stream(DELTA)()
        await call.write(ask(node=Node(id="e"), resource_names_subscribe=["default", "ROOTCA", "unknown"]))
        first = DeltaDiscoveryResponse.parse(await call.read())
        versions = {one.name: one.version for one in first.resources}
        assert set(versions) == {"default", "ROOTCA"}
        assert not first.removed_resources
        await call.write(ask(response_nonce=first.nonce))
        await until(lambda: sds.acknowledged() == 1)
        sds.publish(material(domain.identity(sequence=2)))
        second = DeltaDiscoveryResponse.parse(await call.read())
        assert [one.name for one in second.resources] == ["default"], "the trust has not changed"
        await call.write(ask(response_nonce=second.nonce, resource_names_unsubscribe=["default"]))
        await until(lambda: sds.acknowledged() == 2)
        sds.publish(material(domain.identity(sequence=3)))
        await until(lambda: sds.acknowledged() == 3)
        again = channel.stream_stream(DELTA)()
        await again.write(ask(resource_names_subscribe=["ROOTCA", "default"], initial_resource_versions=versions))
        third = DeltaDiscoveryResponse.parse(await again.read())
        assert [one.name for one in third.resources] == ["default"], "it said that it holds ROOTCA"
        for one in (call, again):
            one.cancel()


async def test_fetch(tmp_path):
    given = material(Domain().identity())
    async with server(tmp_path) as (sds, channel):
        sds.publish(given)
        fetch = channel.unary_unary(FETCH)
        found = DiscoveryResponse.parse(await fetch(bytes(DiscoveryRequest(resource_names=["default"]))))
        assert secrets(found)["default"].tls_certificate.certificate_chain.inline_bytes == given.chain
        nothing = DiscoveryResponse.parse(await fetch(bytes(DiscoveryRequest(resource_names=["unknown"]))))
        assert not nothing.resources


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (bytes(DiscoveryRequest(type_url="type.googleapis.com/other")), grpc.StatusCode.INVALID_ARGUMENT),
        (bytes(DiscoveryRequest(resource_names=[str(n) for n in range(65)])), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (bytes(DiscoveryRequest(resource_names=["x"] * 2000)), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (bytes(DiscoveryRequest(resource_names=["x" * 3000])), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["bytes", "type", "names", "list", "length"],
)
async def test_a_stream_that_asks_for_what_it_may_not_ends_alone(tmp_path, message, code):
    async with server(tmp_path) as (sds, channel):
        sds.publish(material(Domain().identity()))
        good = Stream(channel)
        await good.ask("default")
        await good.answer()
        bad = channel.stream_stream(STREAM)()
        await bad.write(message)
        assert await bad.code() is code
        await until(lambda: len(sds.sessions) == 1)
        sds.publish(material(Domain().identity(sequence=2)))
        await good.answer()


async def test_streams_are_bounded(tmp_path):
    async with server(tmp_path, max_streams=1) as (sds, channel):
        sds.publish(material(Domain().identity()))
        first = Stream(channel)
        await first.ask("default")
        await first.answer()
        second = Stream(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await second.call.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
