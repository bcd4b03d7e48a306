"""Descriptor sets: order, imports, and files that are none."""

import pytest
from google.protobuf import descriptor_pb2

from extauthz.check.compat.descriptors import Descriptors
from extauthz.check.compat.go_text import Unreadable
from extauthz.errors import ConfigError
from tests.support import compat_cases

TRANSFER = b"\x0a\x01A"


def files() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(compat_cases.descriptor_set())


def test_files_may_stand_in_any_order():
    backwards = descriptor_pb2.FileDescriptorSet(file=reversed(files().file))
    assert Descriptors(backwards).read_message("bank.v1.Payments", "Create", TRANSFER) == (True, {"fromAccount": "A"})


def test_well_known_types_need_not_be_there():
    only = descriptor_pb2.FileDescriptorSet(file=[one for one in files().file if one.name == "bank.proto"])
    assert len(only.file) < len(files().file)
    assert Descriptors(only).read_message("bank.v1.Payments", "Create", TRANSFER)[0]


def test_a_missing_import_is_told_with_its_remedy():
    broken = files()
    broken.file.add(name="more.proto", dependency=["nowhere.proto"])
    with pytest.raises(ConfigError, match=r"more\.desc.*lacks an import.*--include_imports"):
        Descriptors(broken, "more.desc")


def test_a_circle_of_imports_is_told():
    circle = descriptor_pb2.FileDescriptorSet()
    circle.file.add(name="a.proto", dependency=["b.proto"])
    circle.file.add(name="b.proto", dependency=["a.proto"])
    with pytest.raises(ConfigError):
        Descriptors(circle)


def test_a_file_that_is_none_or_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Descriptors.read(tmp_path / "none.desc")
    (tmp_path / "text.desc").write_text("message Transfer {}")
    with pytest.raises(ConfigError, match="not a descriptor set"):
        Descriptors.read(tmp_path / "text.desc")


def test_a_required_field_that_is_missing_makes_the_body_unreadable():
    old = descriptor_pb2.FileDescriptorSet()
    file = old.file.add(name="old.proto", package="old", syntax="proto2")
    file.message_type.add(name="Ask").field.add(name="id", number=1, type=9, label=2, json_name="id")
    file.service.add(name="Shop").method.add(name="Buy", input_type=".old.Ask", output_type=".old.Ask")
    descriptors = Descriptors(old)
    assert descriptors.read_message("old.Shop", "Buy", TRANSFER) == (True, {"id": "A"})
    with pytest.raises(Unreadable):
        descriptors.read_message("old.Shop", "Buy", b"")
