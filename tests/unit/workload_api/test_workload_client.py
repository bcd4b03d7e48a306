"""Our client: comes back after every interruption, passes over what it cannot use."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from spiffe._proto import workload_pb2

from extauthz.clock import SystemClock
from extauthz.workload_api import messages
from extauthz.workload_api.client import WorkloadApiClient
from extauthz.workload_api.identity import IdentityError, to_der
from extauthz.workload_api.server import WorkloadApi
from tests.support.identities import Domain, Tokens, served, until


@asynccontextmanager
async def watching(address):
    """A client that keeps what it is told."""
    client = WorkloadApiClient(address, jitter=lambda: 0.1)
    seen = []

    async def watch():
        async for context in client.x509_contexts():
            seen.append(context)  # noqa: PERF401 - looked at while it grows

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        try:
            yield client, seen
        finally:
            task.cancel()
            await client.close()


async def test_it_waits_for_the_socket_the_identity_and_the_next_server(tmp_path):
    domain, address = Domain(), f"unix://{tmp_path}/w.sock"
    async with watching(address) as (_, seen):
        for expected in (1, 2):
            api = WorkloadApi(Tokens(domain), SystemClock())
            async with served(api.methods(), address):
                await asyncio.sleep(0.1)
                identity = domain.identity()
                api.publish(identity)
                await until(lambda wanted=expected: len(seen) == wanted)
            assert seen[-1].svid.serial == identity.svid.serial
            assert seen[-1].trust == {"bank.example": (domain.ca.certificate,)}


async def test_what_cannot_be_used_is_passed_over(tmp_path, caplog):
    domain, address = Domain(), f"unix://{tmp_path}/w.sock"
    good, other = domain.identity(), domain.identity("/other")

    def answer(identity, key=None, name=None):
        made = messages.X509SvidResponse()
        made.svids.add(
            spiffe_id=name or identity.svid.spiffe_id,
            x509_svid=identity.svid.chain_der(),
            x509_svid_key=key or identity.svid.key_der(),
        )
        return made.SerializeToString()

    async def fetch(_message, _context):
        for one in (b"\xff", b"", answer(good, key=other.svid.key_der()), answer(good, name=other.svid.spiffe_id)):
            yield one
        yield answer(good)
        await asyncio.Event().wait()

    method = {f"/{messages.SERVICE}/FetchX509SVID": grpc.unary_stream_rpc_method_handler(fetch)}
    async with served(method, address), watching(address) as (_, seen):
        await until(lambda: seen)
        assert seen[0].svid.serial == good.svid.serial
    assert caplog.text.count("is refused") == 4


async def test_jwt_svids(tmp_path):
    domain, address = Domain(), f"unix://{tmp_path}/w.sock"
    api = WorkloadApi(Tokens(domain), SystemClock())
    async with served(api.methods(), address):
        client = WorkloadApiClient(address)
        with pytest.raises(IdentityError, match="PERMISSION_DENIED"):
            await client.jwt_svid(["db"])
        api.publish(domain.identity())
        assert (await client.jwt_svid(["db"])).audience == ("db",)
        for audience in ([], ["x"] * 0, [""], ["a" * 600], [str(n) for n in range(17)]):
            with pytest.raises(IdentityError, match="INVALID_ARGUMENT"):
                await client.jwt_svid(audience)
        await client.close()


async def test_a_call_without_the_security_header_is_refused(tmp_path):
    address = f"unix://{tmp_path}/w.sock"
    domain = Domain()
    api = WorkloadApi(Tokens(domain), SystemClock())
    api.publish(domain.identity())
    async with served(api.methods(), address), grpc.aio.insecure_channel(address) as channel:
        for name in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"):
            for metadata in ((), (("workload.spiffe.io", "false"),)):
                call = channel.unary_stream(f"/{messages.SERVICE}/{name}")(b"", metadata=metadata)
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        for name in ("FetchJWTSVID", "ValidateJWTSVID"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{messages.SERVICE}/{name}")(b"")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_bundles_are_pushed_only_when_they_change(tmp_path):
    domain, partner, address = Domain(), Domain("partner.example"), f"unix://{tmp_path}/w.sock"
    api = WorkloadApi(Tokens(domain), SystemClock())
    api.publish(domain.identity())
    async with served(api.methods(), address), grpc.aio.insecure_channel(address) as channel:
        metadata = (messages.SECURITY_HEADER,)
        call = channel.unary_stream(f"/{messages.SERVICE}/FetchX509Bundles")(b"", metadata=metadata)
        first = messages.X509BundlesResponse.FromString(await call.read())
        assert set(first.bundles) == {"spiffe://bank.example"}
        api.publish(domain.identity(sequence=2))  # a new certificate, the same trust
        await until(lambda: api.acknowledged() == 2)
        api.publish(domain.identity(sequence=3, federated=[partner]))
        second = messages.X509BundlesResponse.FromString(await call.read())
        assert set(second.bundles) == {"spiffe://bank.example", "spiffe://partner.example"}
        api.publish(None)
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_server_of_others(tmp_path):
    """Messages written by the `spiffe` package's own definitions, in SPIRE's way: several SVIDs, hints, federation."""
    domain, partner, address = Domain(), Domain("partner.example"), f"unix://{tmp_path}/w.sock"
    first, second = domain.identity("/first"), domain.identity("/second")

    async def fetch(_message, context):
        assert ("workload.spiffe.io", "true") in [tuple(one) for one in context.invocation_metadata()]
        made = workload_pb2.X509SVIDResponse(
            federated_bundles={"spiffe://partner.example": to_der(partner.bundle().authorities)}
        )
        for identity in (first, second):
            made.svids.add(
                spiffe_id=identity.svid.spiffe_id,
                x509_svid=identity.svid.chain_der(),
                x509_svid_key=identity.svid.key_der(),
                bundle=to_der(domain.bundle().authorities),
                hint="internal",
            )
        yield made.SerializeToString()
        await asyncio.Event().wait()

    method = {f"/{messages.SERVICE}/FetchX509SVID": grpc.unary_stream_rpc_method_handler(fetch)}
    async with served(method, address), watching(address) as (_, seen):
        await until(lambda: seen)
    assert seen[0].svid.serial == first.svid.serial
    assert seen[0].trust == {one.name: one.bundle().authorities for one in (domain, partner)}
