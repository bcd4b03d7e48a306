"""TLS with an SVID: a client certificate whose key never lies in a file, and a peer that is known by its SPIFFE ID."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from extauthz.authn import x509_svid
from extauthz.errors import ExtauthzError
from extauthz.keys.tls import load_chain
from extauthz.model import Deny
from extauthz.workload_api.identity import IdentityError, to_pem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from extauthz.workload_api.identity import Svid


def client_context(
    svid: Svid | None, authorities: Sequence[x509.Certificate], server_id: str | None = None
) -> ssl.SSLContext:
    """For calls of ours over TLS. Blocks for some milliseconds. Raises IdentityError.

    `svid`: the client certificate; None sends none. `authorities`: the only ones that may vouch for the server.
    `server_id`: the SPIFFE ID that the server must prove, checked before a byte of the request leaves; `*` in the trust
    domain's place (`spiffe://*/authority`) stands for any domain that the authorities vouch for. None: the server is
    known by its host name.
    """
    if not authorities:
        raise IdentityError("no certificate authority is trusted")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = server_id is None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority is an anchor, also when it is no root
    try:
        context.load_verify_locations(cadata=to_pem(authorities).decode())
        if svid is not None:
            load_chain(context, svid.chain_pem(), svid.key)
    except ssl.SSLError as error:
        raise IdentityError(f"TLS refuses the certificates: {error.reason}") from None
    except ExtauthzError as error:
        raise IdentityError(str(error)) from None
    if server_id is not None:
        context.sslobject_class = type("SpiffePeer", (_SpiffePeer,), {"wanted": server_id})
    return context


class _SpiffePeer(ssl.SSLObject):
    """A connection whose handshake ends well only with the wanted SPIFFE ID: OpenSSL matches host names alone."""

    wanted = ""

    def do_handshake(self) -> None:
        super().do_handshake()
        found = _spiffe_id(self.getpeercert(binary_form=True))
        if found is None or not matches(self.wanted, found):
            raise ssl.SSLCertVerificationError(f"the server is not {self.wanted}")


def matches(wanted: str, found: str) -> bool:
    """Whether the SPIFFE ID `found` is `wanted`; `spiffe://*/path` fits every trust domain."""
    if not wanted.startswith("spiffe://*/"):
        return found == wanted
    domain, slash, path = found.removeprefix("spiffe://").partition("/")
    return bool(domain and slash) and path == wanted.removeprefix("spiffe://*/")


def _spiffe_id(der: bytes | None) -> str | None:
    if der is None:
        return None
    leaf = x509_svid.parse(ssl.DER_cert_to_PEM_cert(der))
    return None if isinstance(leaf, Deny) else leaf.uri
