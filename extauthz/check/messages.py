"""Envoy's ext_authz messages, compiled from `protos/` into a descriptor pool of their own.

The pool is private so that `envoy-data-plane`, `googleapis-common-protos` or any other package that brings the same
message names can be loaded into the same process. `ext_authz.desc` is the serialized `FileDescriptorSet` of
`protos/*.proto`; `python -m extauthz.check.messages` writes it anew (needs grpcio-tools), a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

__all__ = ["FILES", "POOL", "SERVICE", "CheckRequest", "CheckResponse", "DecodeError", "compile_protos"]

SERVICE: Final = "envoy.service.auth.v3.Authorization"
PROTOS: Final = Path(__file__).with_name("protos")
DESCRIPTORS: Final = Path(__file__).with_name("ext_authz.desc")


def _files() -> tuple[bytes, ...]:
    known = (module.DESCRIPTOR.serialized_pb for module in (any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2))
    ours = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
    return (*known, *(file.SerializeToString() for file in ours))


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in FILES:
        pool.AddSerializedFile(file)
    return pool


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def compile_protos(protos: Path = PROTOS) -> bytes:
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


FILES: Final = _files()
"""Serialized FileDescriptorProtos, dependencies first: what server reflection shows."""
POOL: Final = _pool()
CheckRequest: Final = _message("envoy.service.auth.v3.CheckRequest")
CheckResponse: Final = _message("envoy.service.auth.v3.CheckResponse")

if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compile_protos())
    sys.stdout.write(f"{DESCRIPTORS.name}\n")
