"""The SPIFFE Workload API's messages, compiled from `protos/` into a descriptor pool of their own.

`python -m extauthz.workload_api.messages` writes the descriptor set anew (needs grpcio-tools), a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from extauthz import protobuf

__all__ = ["DecodeError"]

SERVICE: Final = "SpiffeWorkloadAPI"
SECURITY_HEADER: Final = ("workload.spiffe.io", "true")
"""Metadata that every call must carry, so that no confused HTTP client can ask (Workload API section 4)."""
PROTOS: Final = Path(__file__).with_name("protos")
DESCRIPTORS: Final = Path(__file__).with_name("workload.desc")

if __name__ == "__main__":
    DESCRIPTORS.write_bytes(protobuf.compile_protos(PROTOS))
    sys.stdout.write(f"{DESCRIPTORS.name}\n")

_message: Final = protobuf.load(DESCRIPTORS)
X509SvidRequest: Final = _message("X509SVIDRequest")
X509SvidResponse: Final = _message("X509SVIDResponse")
X509BundlesRequest: Final = _message("X509BundlesRequest")
X509BundlesResponse: Final = _message("X509BundlesResponse")
JwtSvidRequest: Final = _message("JWTSVIDRequest")
JwtSvidResponse: Final = _message("JWTSVIDResponse")
JwtBundlesRequest: Final = _message("JWTBundlesRequest")
JwtBundlesResponse: Final = _message("JWTBundlesResponse")
ValidateJwtSvidRequest: Final = _message("ValidateJWTSVIDRequest")
ValidateJwtSvidResponse: Final = _message("ValidateJWTSVIDResponse")
