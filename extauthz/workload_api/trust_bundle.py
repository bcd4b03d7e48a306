"""SPIFFE trust bundles as JWK sets (SPIFFE Trust Domain and Bundle, section 4).

`x509-svid` entries carry one CA certificate in `x5c`, `jwt-svid` entries a public key with a `kid`. Entries of another
`use` are ignored; an entry of a known use that cannot be read makes the whole document unusable, so that nobody goes on
with half of what a domain wanted to be trusted. No keys at all means: distrust everything.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.authn import jwk
from extauthz.authn.jose import ALGORITHMS
from extauthz.workload_api.identity import IdentityError, TrustBundle, parse_der

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_KEYS: Final = 128
JWT_ALGORITHMS: Final = ALGORITHMS - {"EdDSA"}
"""Those of a JWT-SVID (section 2.1)."""
_JWT_USE: Final = "jwt-svid"


def parse(document: Any) -> TrustBundle:
    """`document`: the JSON object, already decoded. Raises IdentityError."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise IdentityError("a trust bundle has a list of keys, of bounded length")
    certificates = [_certificate(key) for key in keys if isinstance(key, dict) and key.get("use") == "x509-svid"]
    signing = [_signing_key(key) for key in keys if isinstance(key, dict) and key.get("use") == _JWT_USE]
    return TrustBundle(tuple(certificates), tuple(signing))


def _certificate(key: Mapping[str, Any]) -> Any:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise IdentityError("an x509-svid entry has exactly one certificate")
    try:
        der = base64.b64decode(chain[0].encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise IdentityError("x5c is not base64") from None
    found = parse_der(der)
    if len(found) != 1:
        raise IdentityError("an x509-svid entry has exactly one certificate")
    return found[0]


def _signing_key(key: Mapping[str, Any]) -> Mapping[str, Any]:
    public = {name: value for name, value in key.items() if name != "use"}
    parsed = jwk.parse(public, ALGORITHMS)
    if isinstance(parsed, str) or parsed.kid is None:
        raise IdentityError("a jwt-svid entry that cannot be used, or has no kid")
    return public


def jwks(keys: Iterable[Mapping[str, Any]]) -> bytes:
    """The JWT half of a bundle as the Workload API serves it: a JWK set."""
    return orjson.dumps({"keys": [{**key, "use": _JWT_USE} for key in keys]})
