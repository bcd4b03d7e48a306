"""Our own `.proto` files: compiled as committed, and nothing but a part of Envoy's."""

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from extauthz.check import messages
from tests.support.envoy_messages import module


def test_the_committed_descriptors_are_those_of_the_proto_files():
    assert messages.compile_protos() == messages.DESCRIPTORS.read_bytes()


def test_a_proto_file_that_protoc_refuses_is_an_error(tmp_path, capfd):
    (tmp_path / "broken.proto").write_text("nonsense")
    with pytest.raises(RuntimeError, match="refused"):
        messages.compile_protos(tmp_path)
    assert "broken.proto" in capfd.readouterr().err


def test_every_message_and_number_is_envoys():
    """envoy-data-plane carries Envoy's numbers; every field of ours has the same there, and the same name."""
    found = 0
    for raw in messages.FILES:
        file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        if file.package.startswith("google.protobuf"):
            continue
        for message in file.message_type:
            found += _compare(file.package, "", message)
    assert found > 50


def _compare(package: str, outer: str, message: descriptor_pb2.DescriptorProto) -> int:
    if message.options.map_entry:
        return 0
    theirs = _their_fields(package, outer + message.name)
    for field in message.field:
        assert theirs.get(field.name) == field.number, f"{package}.{message.name}.{field.name}"
    inner = sum(_compare(package, outer + message.name, nested) for nested in message.nested_type)
    return len(message.field) + inner


def _their_fields(package: str, name: str) -> dict[str, int]:
    classes = {theirs.lower(): value for theirs, value in vars(module(package)).items()}
    fields = classes[name.lower()].__dataclass_fields__
    return {field: value.metadata["betterproto"].number for field, value in fields.items()}


def test_the_messages_live_beside_other_packages_with_the_same_names():
    """The private pool: registering Envoy's names once more in the default pool is no conflict."""
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool
from extauthz.check import messages
pool = descriptor_pool.Default()
file = descriptor_pb2.FileDescriptorProto(name="other.proto", package="envoy.service.auth.v3", syntax="proto3")
file.message_type.add(name="CheckRequest").field.add(name="x", number=9, type=9, label=1)
pool.Add(file)
assert messages.CheckRequest.FromString(b"").attributes.request.http.path == ""
assert pool.FindMessageTypeByName("envoy.service.auth.v3.CheckRequest").fields[0].name == "x"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
