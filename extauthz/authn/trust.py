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
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


class TrustBundle:
    """The CA certificates in force; none: no certificate of the domain is trusted.

    `revision` grows whenever they change, so whoever remembers a chain knows that it must be looked at again.
    """

    __slots__ = ("_authorities", "_store", "revision")

    def __init__(self, authorities: Sequence[x509.Certificate] = ()) -> None:
        self.revision = 0
        self._authorities: frozenset[x509.Certificate] = frozenset()
        self._store: verification.Store | None = None
        self.replace(authorities)

    def replace(self, authorities: Sequence[x509.Certificate]) -> bool:
        """Trust exactly these from now on; whether that changes anything. Raises ValueError for unusable ones."""
        wanted = frozenset(authorities)
        if wanted == self._authorities:
            return False
        self._store = verification.Store(list(authorities)) if authorities else None
        self._authorities = wanted
        self.revision += 1
        return True

    def trusted_until(self, leaf: x509.Certificate, now: float) -> float | None:
        """Earliest notAfter on the leaf's chain, seconds since the epoch; None when no chain is valid at `now`.

        The leaf's own profile is `x509_svid`'s to judge; the authorities must keep RFC 5280's rules for them.
        """
        if self._store is None:
            return None
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


class TrustBundleFile(TrustBundle):
    """CA certificates from a PEM file, read again when it changes. Raises ConfigError when made."""

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)
        super().__init__(self._read(self._file.changed() or b""))

    def reload(self) -> bool:
        try:
            content = self._file.changed()
            return content is not None and self.replace(self._read(content))
        except ConfigError as error:
            log.error("trust bundle kept as it was: %s", error)  # noqa: TRY400 - the message says all
            return False

    def _read(self, content: bytes) -> list[x509.Certificate]:
        try:
            found = x509.load_pem_x509_certificates(content)
            verification.Store(found)  # what cannot be a store is refused here, with the file's name
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise file_error(
                self._file.path, "is not a list of PEM certificates", "write the domain's CA certificates"
            ) from None
        return found
