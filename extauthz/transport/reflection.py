"""Server reflection, v1 and v1alpha (the same messages under two names), so that grpcurl and friends can ask.

It shows the public messages that we speak, nothing of our configuration.
Source: grpc/src/proto/grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from extauthz.transport import health
from extauthz.transport.frames import Refused, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
METHODS: Final = frozenset(f"/{service}/ServerReflectionInfo" for service in SERVICES)


class Reflection:
    """`files`: serialized FileDescriptorProtos, dependencies first; `services`: the names that they define."""

    def __init__(self, files: Iterable[bytes], services: Iterable[str]) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in (*files, health_pb2.DESCRIPTOR.serialized_pb):
            pool.AddSerializedFile(file)
        self._servicer = reflection.aio.ReflectionServicer((*services, health.SERVICE, *SERVICES), pool=pool)

    async def answers(self, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """One ServerReflectionResponse for each ServerReflectionRequest. Raises Refused for what is none."""
        async for answer in self._servicer.ServerReflectionInfo(_requests(messages), None):
            yield answer.SerializeToString()


async def _requests(messages: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for message in messages:
        try:
            request = reflection_pb2.ServerReflectionRequest.FromString(message)
        except DecodeError:
            raise Refused(Status.INVALID_ARGUMENT, "not a ServerReflectionRequest") from None
        yield request
