"""TLS of the authority's listener: its own certificate and whom it believes change under a running server.

Each handshake takes the newest context, so a rotated trust bundle or certificate needs no restart and no new socket.
A context is never changed once it has served: it is replaced as a whole.

1. TLS 1.3 alone; a client certificate is optional here and required by the endpoint.
2. No session is resumed: a resumed one would bring a client certificate that nobody verified again. (In TLS 1.2
   sessions are resumed by their id, and Python cannot switch that off.)
3. Only ALPN `http/1.1`: nothing else is spoken.

What a handshake proved is judged again on each request (`peer`): connections outlive trust.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.errors import ExtauthzError
from extauthz.keys.tls import load_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from extauthz.keys.signer import PrivateKey


class ListenerTls:
    """`context` is what the listener is opened with; `renew` sets what handshakes use from then on.

    `anchors` are the CA certificates that sign client certificates; none of them has to be self-signed.
    """

    def __init__(self, chain: bytes, key: PrivateKey, anchors: Sequence[x509.Certificate]) -> None:
        self._newest = _context(chain, key, anchors)
        self.context = _context(chain, key, anchors)
        self.context.sni_callback = self._newest_for

    def renew(self, chain: bytes, key: PrivateKey, anchors: Sequence[x509.Certificate]) -> None:
        """`chain` is PEM, leaf first. Blocks for a few milliseconds. Raises ExtauthzError; nothing has changed then."""
        self._newest = _context(chain, key, anchors)

    def _newest_for(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL calls this in each handshake, also when the client names no server."""
        connection.context = self._newest


def _context(chain: bytes, key: PrivateKey, anchors: Sequence[x509.Certificate]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # 1
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.num_tickets = 0  # 2
    context.set_alpn_protocols(["http/1.1"])  # 3
    if anchors:
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in anchors)
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except ssl.SSLError as error:
            raise ExtauthzError(f"the listener refuses its anchors: {error.reason}") from None
    load_chain(context, chain, key)
    return context
