"""Requests at the edge, many at a time, half of them such that they must be denied.

What is counted is what a fault must never cause: an allow that should not be, a request that hangs, an answer that says
neither yes nor why not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab

WORKERS: Final = 4
_CREATED: Final = 201
_PAUSE: Final = 0.01


@dataclass(slots=True)
class Load:
    """Runs until `stop` is set. `allowed` and `denied` count answers; the lists hold what must be empty."""

    lab: Lab
    per_token: int = 0
    """Transfers after which a user signs in again; 0: never."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    allowed: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    """Denials by code."""
    failed: Counter[str] = field(default_factory=Counter)
    """Answers of Envoys and services that could not reach a part, by status."""
    wrong: list[str] = field(default_factory=list)
    """Forbidden requests that were allowed."""
    hung: int = 0

    @property
    def total(self) -> int:
        return self.allowed + self.denied.total() + self.failed.total() + len(self.wrong) + self.hung

    @property
    def sound(self) -> bool:
        return not self.wrong and not self.hung

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._worker(forbidden=number % 2 == 1))

    async def _worker(self, *, forbidden: bool) -> None:
        token, sent = await self.lab.sign_in(), 0
        while not self.stop.is_set():
            if self.per_token and sent >= self.per_token:
                token, sent = await self._signed_in(token), 0
            sent += 1
            crossing = {"tenant": "globex", "region": "us"} if forbidden else {}
            answer = await self.lab.edge(token, self.lab.transfer(**crossing))
            self._count(answer, forbidden=forbidden)
            await asyncio.sleep(_PAUSE)

    async def _signed_in(self, former: str) -> str:
        """A new token; the former one, and a failure, when the authority gives none."""
        try:
            return await self.lab.sign_in()
        except (ExtauthzError, httpx.HTTPError) as error:
            self.failed[f"sign-in: {type(error).__name__}"] += 1
            return former

    def _count(self, answer: Answer, *, forbidden: bool) -> None:
        if answer.code == "hang":
            self.hung += 1
        elif answer.layer:
            self.denied[answer.code] += 1
        elif answer.status == _CREATED and forbidden:
            self.wrong.append(answer.request_id)
        elif answer.status == _CREATED:
            self.allowed += 1
        elif 200 <= answer.status < 500:  # noqa: PLR2004 - neither a denial with a layer nor a fault
            self.wrong.append(f"{answer.status} {answer.request_id}")
        else:
            self.failed[str(answer.status)] += 1
