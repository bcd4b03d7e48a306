"""A certificate with its key, into a TLS context, without the key ever lying in a file in clear.

Python's `ssl` loads a key from a file only: it is written encrypted, under a password that exists in memory alone, into
a file that only this user can read and that is gone before the function returns.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from extauthz.keys.signer import PrivateKey


def load_chain(context: ssl.SSLContext, chain: bytes, key: PrivateKey) -> None:
    """`chain` is PEM, leaf first. Blocks for some milliseconds. Raises ExtauthzError."""
    password = secrets.token_urlsafe(32)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    try:
        with tempfile.NamedTemporaryFile(prefix="extauthz-") as file:  # mode 0600, removed at the end
            file.write(chain + sealed)
            file.flush()
            context.load_cert_chain(file.name, password=password)
    except ssl.SSLError as error:
        raise ExtauthzError(f"TLS refuses the certificate: {error.reason}") from None
    except OSError as error:
        raise ExtauthzError(f"no temporary file can be written: {error.strerror}") from None
