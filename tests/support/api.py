"""The HTTP API of a whole server in this process: the parent's forwarder over real workers, spoken to over ASGI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from extauthz.supervisor.api import ApiForwarder
from extauthz.supervisor.http import Overview, application
from extauthz.transport.control import ControlError

if TYPE_CHECKING:
    from extauthz.app import Application

AUDIENCE = "https://extauthz.bank.example"
DOOR = {"issuers": ["main"], "audiences": [AUDIENCE], "scopes": ["extauthz.api"]}
"""A token rule for `api.*.token`."""


class Worker:
    """A worker that is asked as the parent asks: what travels is JSON. `up` False: it does not answer."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.up = True
        self.asked = 0

    async def ask(self, command: str, timeout: float = 2.0, **values: Any) -> Any:
        self.asked += 1
        if not self.up:
            raise ControlError(f"{command}: no answer")
        request = json.loads(json.dumps(values["request"]))
        return json.loads(json.dumps(await self.app.api(request)))


def client(*workers: Worker, unix: bool = False) -> httpx.AsyncClient:
    """Close it."""
    app = application(Overview(()), ApiForwarder(workers, unix=unix))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")
