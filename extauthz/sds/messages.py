"""Envoy's secret discovery messages, compiled from `protos/` into a descriptor pool of their own.

`python -m extauthz.sds.messages` writes the descriptor set anew (needs grpcio-tools), a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from extauthz import protobuf

__all__ = ["DecodeError"]

SERVICE: Final = "envoy.service.secret.v3.SecretDiscoveryService"
TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
VALIDATOR: Final = "envoy.tls.cert_validator.spiffe"
VALIDATOR_TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
PROTOS: Final = Path(__file__).with_name("protos")
DESCRIPTORS: Final = Path(__file__).with_name("sds.desc")

if __name__ == "__main__":
    DESCRIPTORS.write_bytes(protobuf.compile_protos(PROTOS))
    sys.stdout.write(f"{DESCRIPTORS.name}\n")

_DISCOVERY: Final = "envoy.service.discovery.v3"
_TLS: Final = "envoy.extensions.transport_sockets.tls.v3"
_message: Final = protobuf.load(DESCRIPTORS)
DiscoveryRequest: Final = _message(f"{_DISCOVERY}.DiscoveryRequest")
DiscoveryResponse: Final = _message(f"{_DISCOVERY}.DiscoveryResponse")
DeltaDiscoveryRequest: Final = _message(f"{_DISCOVERY}.DeltaDiscoveryRequest")
DeltaDiscoveryResponse: Final = _message(f"{_DISCOVERY}.DeltaDiscoveryResponse")
Secret: Final = _message(f"{_TLS}.Secret")
SpiffeCertValidatorConfig: Final = _message(f"{_TLS}.SPIFFECertValidatorConfig")
