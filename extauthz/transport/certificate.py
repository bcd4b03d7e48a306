"""The Check listener's own certificate: when it ends, so that an operator is warned before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from pathlib import Path


def not_after(file: Path) -> float:
    """Seconds since the epoch, of the first certificate in a PEM file. Blocks. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
        remedy = "name a PEM file with the server's certificate chain, leaf first"
        raise ConfigError((ConfigProblem(str(file), 0, "server.tls.certificate", str(reason), remedy),)) from None
