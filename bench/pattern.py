"""Every pattern of credential on a route of the demonstration platform: how it is got, used, stolen and ended.

A pattern knows how to try each attack on itself, with the means that an attacker of that kind has; what came of it is
whatever the platform answered. `None` in place of an answer: there is nothing to try, and the string says why.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from extauthz.clock import SystemClock
from extauthz.demo.authority import Refusal
from extauthz.demo.lab import Answer
from extauthz.demo.tokens import Mint, new_key
from extauthz.demo.zones import (
    EDGE,
    Zone,
)

if TYPE_CHECKING:
    from extauthz.demo.lab import Lab

Held = TypeVar("Held")
NO_KEY: Final = "has no key"
NO_PURPOSE: Final = "says no purpose"
NO_TENANT: Final = "no tenant's data"
KEPT_BACK: Final = Answer(0, "credential", "not handed on")
"""The service behind the route never sees the credential, so it has nothing to keep."""
LEEWAY: Final = 5.0
"""Seconds that the platform's servers allow for clocks that differ."""
RELOADED: Final = 3.0
"""Seconds in which a changed file of API keys is surely read again (`revocation.interval` is 2s)."""
SHORT: Final = "1"


class Pattern(ABC, Generic[Held]):
    """`lab` is the holder's machine, `thief` another one: its own connections, and nothing else of the holder's."""

    name: ClassVar[str]
    route: ClassVar[str]
    zone: ClassVar[Zone] = EDGE
    renewable: ClassVar[bool] = True
    """Whether a new credential can be had for each request."""

    def __init__(self, lab: Lab, thief: Lab) -> None:
        self.lab = lab
        self.thief = thief

    async def prepare(self) -> None:
        """What the route needs before it can be used."""

    @abstractmethod
    async def get(self) -> Held:
        """A good credential."""

    @abstractmethod
    async def use(self, held: Held, lab: Lab | None = None) -> Answer:
        """An honest request, from the holder's machine or from another."""

    @abstractmethod
    async def expired(self) -> Answer:
        """An honest request with one whose time has passed."""

    @abstractmethod
    async def revoke(self, held: Held) -> None: ...

    @abstractmethod
    async def copied(self, held: Held) -> Answer | str:
        """What travels, or stands in a log, used by somebody else."""

    async def copied_with_key(self, held: Held) -> Answer | str:
        """Its private key in the thief's hands as well."""
        del held
        return NO_KEY

    @abstractmethod
    async def elsewhere(self, held: Held) -> Answer | str:
        """At a route, or a zone, that it was not made for."""

    @abstractmethod
    async def forged(self, held: Held) -> Answer | str:
        """Made up, by somebody who knows what a good one looks like."""

    @abstractmethod
    async def other_tenant(self, held: Held) -> Answer | str: ...

    @abstractmethod
    async def other_purpose(self, held: Held) -> Answer | str: ...

    @abstractmethod
    async def kept_by_hop(self, held: Held) -> Answer | str:
        """The service that served the request uses what it saw of the credential once more."""


class Bearer(Pattern[str]):
    """A token that whoever holds it may use."""

    user: ClassVar[str] = "alice"
    form: ClassVar[dict[str, str]] = {}

    async def get(self) -> str:
        return await self.lab.sign_in(self.user, **self.form)

    async def expired(self) -> Answer:
        token = await self.lab.sign_in(self.user, **self.form, lifetime=SHORT)
        await asyncio.sleep(float(SHORT) + LEEWAY + 1.0)
        return await self.use(token)

    async def revoke(self, held: str) -> None:
        await self.lab.platform.authority.admin.revoke("token", held)

    async def copied(self, held: str) -> Answer | str:
        return await self.use(held, self.thief)

    async def elsewhere(self, held: str) -> Answer | str:
        """An administrator's route, which takes tokens of another audience."""
        return await self.lab.edge(held, {"amount": 75000}, path="/v1/limits/wire", method="PUT")

    async def forged(self, held: str) -> Answer | str:
        return await self.use(forge(held), self.thief)

    async def kept_by_hop(self, held: str) -> Answer | str:
        answer = await self.use(held)
        return await self.use(held, self.thief) if self.seen(answer, held) else KEPT_BACK

    def seen(self, answer: Answer, held: str) -> bool:
        """Whether the service behind the route saw the token."""
        del held
        return bool(answer.body["caller"]["token"])

    async def _issued_for(self, purpose: str) -> Answer:
        """The issuer is asked for a token of this purpose, which is used where it gives one out."""
        try:
            token = await self.lab.sign_in(self.user, **{**self.form, "purpose": purpose})
        except Refusal as refusal:
            return Answer(refusal.status, "issuer", refusal.code)
        return await self.use(token)


def forge(token: str) -> str:
    """The same header and claims, signed by somebody else."""
    head, claims = (json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2])
    return Mint(claims["iss"], new_key(), SystemClock(), head["kid"]).sign(claims, header=head)
