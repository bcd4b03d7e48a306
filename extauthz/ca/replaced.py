"""Which certificates a renewed one may name as its predecessors: only those replaced within the longest token's life.

The certificate that renews carries the names of those before it; the store remembers since when each is replaced, and
forgets it when no token can be bound to it any more. So nothing has to be looked up but what the certificate names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.keys import successor

if TYPE_CHECKING:
    from cryptography import x509

    from extauthz.store.store import Store

_TABLE: Final = "replaced-certificates"


async def predecessors(store: Store, replaced: x509.Certificate, now: float, longest: float) -> tuple[bytes, ...]:
    """What the successor of `replaced` names, newest first. `longest` in seconds. Raises StoreError.

    `replaced` has authenticated this renewal: verified against our own trust bundle, with proof of its private key.
    """
    digest = hashlib.sha256(replaced.public_bytes(Encoding.DER)).digest()
    await store.put(_TABLE, digest.hex(), b"", expires=now + longest)
    earlier = [
        name
        for name in successor.read(replaced).digests
        if name != digest and await store.get(_TABLE, name.hex()) is not None
    ]
    return (digest, *earlier)[: successor.MAX_PREDECESSORS]
