"""Which certificates a renewed one may name as its predecessors: only those replaced within the longest token's life.

The certificate that renews carries the names of those before it; the store remembers since when each is replaced, and
forgets it when no token can be bound to it any more. So nothing has to be looked up but what the certificate names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.keys import successor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

    from extauthz.store.store import Store

_TABLE: Final = "replaced-certificates"


async def predecessors(
    store: Store, replaced: x509.Certificate, authorities: Iterable[x509.Certificate], *, now: float, longest: float
) -> tuple[bytes, ...]:
    """What the successor of `replaced` names, newest first. `longest` in seconds. Raises StoreError.

    `replaced` has authenticated this renewal: verified against the trust bundle, with proof of its private key. What
    it says of its own predecessors counts only when one of our `authorities` signed it: no other CA may say that.
    """
    digest = hashlib.sha256(replaced.public_bytes(Encoding.DER)).digest()
    await store.put(_TABLE, digest.hex(), b"", expires=now + longest)
    named = successor.read(replaced).digests if any(_issued(replaced, ca) for ca in authorities) else ()
    earlier = [name for name in named if name != digest and await store.get(_TABLE, name.hex()) is not None]
    return (digest, *earlier)[: successor.MAX_PREDECESSORS]


async def replace(store: Store, digests: Iterable[bytes], *, now: float, longest: float) -> None:
    """These are replaced from now on, or were before: for `longest` seconds from then. Raises StoreError."""
    for digest in digests:
        await store.add(_TABLE, digest.hex(), b"", expires=now + longest)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
