"""The operator's side of the authority, however it is reached: its Unix socket, or a command in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import httpx

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 10.0
_OK = 200


class Admin(Protocol):
    async def ready(self) -> bool:
        """Whether the authority answers."""

    async def trust(self) -> str:
        """PEM of the trust domain's certificate authorities. This and what follows raises ExtauthzError."""

    async def join_token(self, entry: str, instance: str = "") -> str:
        """`instance`: the place where the workload runs, which is the same when it starts again."""

    async def revoke(self, kind: str, value: str) -> None: ...

    async def rotate(self, what: str, *, compromised: bool = False) -> None:
        """`ca` or `signing`: a new key is on its way; returns before it is active. `compromised`: the old one is
        distrusted, and a new one active, when it returns."""

    async def active(self) -> dict[str, str]:
        """`ca` and `signing` → the key that signs now."""


class SocketAdmin:
    """Over the authority's Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ready(self) -> bool:
        try:
            await self._ask("GET", "/status")
        except (httpx.HTTPError, ExtauthzError):
            return False
        return True

    async def trust(self) -> str:
        return str((await self._ask("GET", "/trust"))["pem"])

    async def join_token(self, entry: str, instance: str = "") -> str:
        order = {"entry": entry, "ttl": 60, "instance": instance}
        return str((await self._ask("POST", "/join-token", order))["token"])

    async def revoke(self, kind: str, value: str) -> None:
        await self._ask("POST", "/revoke", {"kind": kind, "value": value, "reason": "demonstration"})

    async def rotate(self, what: str, *, compromised: bool = False) -> None:
        await self._ask("POST", "/rotate", {"what": what, "compromised": compromised})

    async def active(self) -> dict[str, str]:
        return active_of(await self._ask("GET", "/status"))

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://authority", timeout=_TIMEOUT) as client:
            response = await client.request(method, path, json=body)
        answer: dict[str, Any] = response.json()
        if response.status_code != _OK:
            raise ExtauthzError(f"the authority refuses {path}: {answer.get('error')}")
        return answer


def active_of(status: dict[str, Any]) -> dict[str, str]:
    """What `Admin.active` says, out of the authority's status."""
    keys: dict[str, list[dict[str, Any]]] = status["keys"]
    return {name: next(slot["kid"] for slot in slots if slot["phase"] == "active") for name, slots in keys.items()}
