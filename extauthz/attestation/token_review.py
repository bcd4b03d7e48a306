"""TokenReview: the cluster's API server is asked whether it would take this token, and for whom.

1. the question names our audiences; the authority's own token is read again each time, because it rotates
2. the answer is a strict JSON object, bounded
3. `authenticated` is true, and for one of our audiences: a server that knows no audiences names none and is refused
4. user, uid and pod are those that the token's own claims name

Source: Kubernetes API reference, authentication.k8s.io/v1 TokenReview.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Final

from extauthz.attestation.refusal import Refused
from extauthz.authn.json_object import parse_object
from extauthz.errors import OutboundError
from extauthz.outbound import Outbound, OutboundSettings

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from extauthz.attestation.settings import ReviewSettings

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_MAX_ANSWER: Final = 64 * 1024
_MAX_TOKEN: Final = 16 * 1024
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/=-]+")
_POD: Final = "authentication.kubernetes.io/pod-name"
_OK: Final = frozenset({200, 201})


class TokenReview:
    """Raises ConfigError for a trust bundle that cannot be used."""

    def __init__(
        self, settings: ReviewSettings, audiences: tuple[str, ...], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._audiences = audiences
        verify = OutboundSettings(trust_bundle=settings.trust_bundle).verify()
        self._outbound = Outbound(
            [settings.url], timeout=settings.timeout, max_bytes=_MAX_ANSWER, verify=verify, transport=transport
        )

    async def ask(self, token: str, user: str, uid: str, pod: str) -> Refused | None:
        """None when the API server vouches for the token. `user`, `uid` and `pod` are what the token says."""
        try:
            status = await self._status(token)
        except OutboundError as error:
            return Refused("attestation.unavailable", f"TokenReview: {error}")
        if status.get("authenticated") is not True:  # 3
            return Refused("attestation.signature", "the API server does not take the token")
        audiences = status.get("audiences")
        if not isinstance(audiences, list) or not any(audience in audiences for audience in self._audiences):  # 3
            return Refused("attestation.audience", "the API server takes the token for another audience")
        reviewed = status.get("user")
        if not isinstance(reviewed, dict) or reviewed.get("username") != user or reviewed.get("uid") != uid:  # 4
            return Refused("attestation.claims", "the API server names another user")
        extra = reviewed.get("extra")
        if pod and (not isinstance(extra, dict) or extra.get(_POD) != [pod]):  # 4
            return Refused("attestation.claims", "the API server names another pod")
        return None

    async def close(self) -> None:
        await self._outbound.close()

    async def _status(self, token: str) -> dict[str, Any]:
        """`status` of the answer. Raises OutboundError."""
        own = await asyncio.to_thread(_own_token, self._settings.token_file)  # 1
        question = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        response = await self._outbound.send(
            "POST",
            self._settings.url + _PATH,
            content=json.dumps(question).encode(),
            headers={
                "authorization": f"Bearer {own}",
                "content-type": "application/json",
                "accept": "application/json",
            },
        )
        if response.status not in _OK:
            raise OutboundError(f"the API server answered {response.status}")
        answer = parse_object(response.body, max_depth=10, max_values=1024)  # 2
        status = None if answer is None else answer.get("status")
        if not isinstance(status, dict):  # 2
            raise OutboundError("the API server's answer is no TokenReview")
        return status


def _own_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN + 1).strip()
    except OSError as error:
        raise OutboundError(f"the authority's own token cannot be read: {error.strerror}") from None
    if len(token) > _MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise OutboundError("the authority's own token file holds no token")
    return token.decode("ascii")
