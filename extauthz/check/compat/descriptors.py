"""Messages of gRPC bodies, by a descriptor set (`protoc --include_imports --descriptor_set_out`), as protojson.

1. Files of the set may stand in any order; Google's well-known types need not be in it.
2. A path `/package.Service/Method` names the message; a method whose requests are a stream has none.
3. protojson writes 64-bit integers and bytes as text, enums by name, and leaves out what is not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

from extauthz.check.compat.go_text import Unreadable
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from pathlib import Path

_KNOWN = (
    any_pb2,
    source_context_pb2,
    type_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)


class Descriptors:
    """The services of one descriptor set."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, file: str = "") -> None:
        """`file` is where the set came from. Raises ConfigError when it does not hang together."""
        self._pool = descriptor_pool.DescriptorPool()
        waiting = {one.name: one for module in _KNOWN for one in [_proto(module)]}
        waiting |= {one.name: one for one in files.file}
        try:
            while waiting:
                self._add(next(iter(waiting)), waiting)  # 1
        except (TypeError, KeyError, ValueError, RecursionError):
            raise ConfigError((_broken(file, "the descriptor set lacks an import, or contradicts itself"),)) from None

    @classmethod
    def read(cls, path: Path) -> Descriptors:
        """Blocks. Raises ConfigError."""
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        except OSError as error:
            raise ConfigError((_broken(str(path), f"cannot be read: {error.strerror}"),)) from None
        except DecodeError:
            raise ConfigError((_broken(str(path), "is not a descriptor set"),)) from None
        return cls(files, str(path))

    def read_message(self, service: str, method: str, message: bytes) -> tuple[bool, Any]:
        """Whether the method is known, and its message as protojson. Raises Unreadable."""
        found = self._request(service, method)
        if found is None:
            return False, None
        try:
            parsed = found.FromString(message)
            if not parsed.IsInitialized():
                raise Unreadable("the gRPC message lacks a required field")
            return True, json_format.MessageToDict(parsed, descriptor_pool=self._pool)
        except (DecodeError, json_format.Error, TypeError, ValueError, RecursionError):
            raise Unreadable("the gRPC message is not what its method takes") from None

    def _request(self, service: str, method: str) -> Any:
        """The class of the method's request message; None when there is none to read."""
        try:
            found = self._pool.FindServiceByName(service).methods_by_name.get(method)
        except KeyError:
            return None
        if found is None or found.client_streaming:  # 2
            return None
        return message_factory.GetMessageClass(found.input_type)

    def _add(self, name: str, waiting: dict[str, Any]) -> None:
        file = waiting.pop(name)
        for needed in file.dependency:
            if needed in waiting:
                self._add(needed, waiting)
        self._pool.AddSerializedFile(file.SerializeToString())


def _proto(module: Any) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def _broken(file: str, what: str) -> ConfigProblem:
    remedy = "write it with protoc --include_imports --descriptor_set_out"
    return ConfigProblem(file, 0, "policy.opa_envoy_plugin.proto-descriptor", what, remedy)
