"""What `authn` needs of the server's own identity; where it comes from is not its business (`check.own_identity`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from extauthz.authn.trust import TrustBundle
    from extauthz.authn.x509_svid import Leaf


class OwnIdentity(Protocol):
    @property
    def leaf(self) -> Leaf | None:
        """The server's own X.509-SVID, the newest one, valid or not; None while it has none."""

    def trust_bundle(self, trust_domain: str) -> TrustBundle:
        """The domain's bundle as the identity's source gives it: one object for good, empty while there is none."""
