"""The names of secrets, as SPIRE's and Istio's users write them. Nothing is imported here, so that settings may."""

from typing import Final

OWN_CERTIFICATE: Final = "default"
OWN_TRUST: Final = "ROOTCA"
ALL_TRUST: Final = "ALL"
NAMES: Final = frozenset({OWN_CERTIFICATE, OWN_TRUST, ALL_TRUST})
SCHEME: Final = "spiffe://"
