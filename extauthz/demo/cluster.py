"""A stand-in for a Kubernetes cluster's token issuer: it projects service-account tokens, and nothing else.

There is no cluster here; the tokens have the form of a real one's, and the authority verifies them the same way.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from extauthz.demo.authority_files import CLUSTER_AUDIENCE, CLUSTER_ISSUER
from extauthz.demo.tokens import Mint, new_key

if TYPE_CHECKING:
    from extauthz.clock import Clock


class Cluster:
    """One cluster. `private_key` (PEM) is that of one that goes on; without it a new one is made, in memory."""

    def __init__(self, clock: Clock, issuer: str = CLUSTER_ISSUER, private_key: bytes | None = None) -> None:
        self._mint = Mint(issuer, private_key or new_key(), clock, key_id="cluster-1")

    @property
    def private_key(self) -> bytes:
        """PKCS#8 PEM."""
        return self._mint.private_key

    def jwks(self) -> dict[str, Any]:
        return self._mint.jwks()

    def project(
        self, namespace: str, account: str, audience: str = CLUSTER_AUDIENCE, lifetime: float = 600.0, uid: str = ""
    ) -> str:
        """The token that a kubelet would give to a pod of this service account. `lifetime` in seconds; `uid`: of a pod
        that runs already, a new one without it."""
        uid = uid or str(uuid.uuid4())
        pod = f"{account}-{uid[:8]}"
        claims = {
            "aud": [audience],
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "nbf": int(self._mint.clock.now()),
            "kubernetes.io": {
                "namespace": namespace,
                "pod": {"name": pod, "uid": uid},
                "serviceaccount": {"name": account, "uid": str(uuid.uuid4())},
            },
        }
        return self._mint.sign(claims, lifetime=lifetime, header={"typ": None})
