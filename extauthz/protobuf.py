"""Protobuf messages from a committed descriptor set, in a descriptor pool of their own.

A private pool lets two packages bring messages of the same names into one process (Envoy's API, the SPIFFE Workload
API): each reads with its own classes. A package keeps its `.proto` files in `protos/` and their `FileDescriptorSet`
beside them; a test compiles them anew and compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def files(descriptors: Path) -> tuple[bytes, ...]:
    """Serialized FileDescriptorProtos, dependencies first: the well-known ones, then those of `descriptors`."""
    known = (module.DESCRIPTOR.serialized_pb for module in (any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2))
    ours = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
    return (*known, *(file.SerializeToString() for file in ours))


def load(descriptors: Path) -> Callable[[str], Any]:
    """From a message's full name to its class, for the messages of the `FileDescriptorSet` in `descriptors`."""
    pool = descriptor_pool.DescriptorPool()
    for file in files(descriptors):
        pool.AddSerializedFile(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def compile_protos(protos: Path) -> bytes:
    """The serialized `FileDescriptorSet` of `protos`, dependencies first. Raises RuntimeError when protoc refuses."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - only here, and never at run time

    from grpc_tools import protoc  # type: ignore[import-untyped]  # noqa: PLC0415 - a development tool

    known = Path(protoc.__file__).with_name("_proto")
    names = sorted(path.name for path in protos.glob("*.proto"))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "set.desc"
        if protoc.main(["protoc", f"-I{protos}", f"-I{known}", f"--descriptor_set_out={out}", *names]) != 0:
            raise RuntimeError("protoc refused the .proto files")
        return out.read_bytes()
