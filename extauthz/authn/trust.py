"""Trust bundles: the CA certificates of one trust domain, and the check of a leaf against them.

Used only where a bundle is configured; Envoy has verified the chain in the handshake already. This is the second look
that a bundle rotated after the handshake, or an Envoy that trusts too much, needs. Envoy reports the leaf alone, so a
bundle lists the intermediate authorities that sign leaves beside its roots.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification

from extauthz.authn.files import WatchedFile, file_error
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class TrustBundle:
    """CA certificates from a PEM file. `revision` grows whenever they change. Raises ConfigError when made."""

    __slots__ = ("_file", "_store", "revision")

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)
        self.revision = 0
        self._store = self._load(self._file.changed() or b"")

    def reload(self) -> bool:
        try:
            content = self._file.changed()
            if content is None:
                return False
            self._store = self._load(content)
        except ConfigError as error:
            log.error("trust bundle kept as it was: %s", error)  # noqa: TRY400 - the message says all
            return False
        self.revision += 1
        return True

    def _load(self, content: bytes) -> verification.Store:
        try:
            return verification.Store(x509.load_pem_x509_certificates(content))
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise file_error(
                self._file.path, "is not a list of PEM certificates", "write the domain's CA certificates"
            ) from None

    def trusted_until(self, leaf: x509.Certificate, now: float) -> float | None:
        """Earliest notAfter on the leaf's chain, seconds since the epoch; None when no chain is valid at `now`.

        The leaf's own profile is `x509_svid`'s to judge; the authorities must keep RFC 5280's rules for them.
        """
        at = dt.datetime.fromtimestamp(now, dt.UTC)
        policy = (
            verification.PolicyBuilder()
            .store(self._store)
            .time(at)
            .max_chain_depth(4)
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
        )
        try:
            chain = policy.build_client_verifier().verify(leaf, []).chain
        except (verification.VerificationError, ValueError, UnsupportedAlgorithm):
            return None
        return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)
