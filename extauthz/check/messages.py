"""Envoy's ext_authz messages, compiled from `protos/` into a descriptor pool of their own.

The pool is private so that `envoy-data-plane`, `googleapis-common-protos` or any other package that brings the same
message names can be loaded into the same process. `ext_authz.desc` is the serialized `FileDescriptorSet` of
`protos/*.proto`; `python -m extauthz.check.messages` writes it anew (needs grpcio-tools), a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from extauthz import protobuf

__all__ = ["FILES", "SERVICE", "CheckRequest", "CheckResponse", "DecodeError", "compile_protos"]

SERVICE: Final = "envoy.service.auth.v3.Authorization"
PROTOS: Final = Path(__file__).with_name("protos")
DESCRIPTORS: Final = Path(__file__).with_name("ext_authz.desc")


def compile_protos(protos: Path = PROTOS) -> bytes:
    """As `protobuf.compile_protos`."""
    return protobuf.compile_protos(protos)


FILES: Final = protobuf.files(DESCRIPTORS)
"""Serialized FileDescriptorProtos, dependencies first: what server reflection shows."""
_message: Final = protobuf.load(DESCRIPTORS)
CheckRequest: Final = _message("envoy.service.auth.v3.CheckRequest")
CheckResponse: Final = _message("envoy.service.auth.v3.CheckResponse")

if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compile_protos())
    sys.stdout.write(f"{DESCRIPTORS.name}\n")
