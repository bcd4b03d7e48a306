"""Long polls, bounded: how many are open, in all and for one workload, and for how long.

A poll ends when there is something to say, when its time is over, when its client goes away, or when we shut down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from starlette.requests import Request

    from extauthz.authority.settings import ListenerSettings

Answer = TypeVar("Answer")


class Polls:
    def __init__(self, settings: ListenerSettings) -> None:
        self._settings = settings
        self._open: Counter[str] = Counter()
        self._end = asyncio.Event()

    def __len__(self) -> int:
        return self._open.total()

    @contextlib.contextmanager
    def place(self, workload: str) -> Iterator[bool]:
        """A place for one poll of this workload, or False: there is none left."""
        settings = self._settings
        if len(self) >= settings.polls or self._open[workload] >= settings.polls_per_workload:
            yield False
            return
        self._open[workload] += 1
        try:
            yield True
        finally:
            self._open[workload] -= 1
            if not self._open[workload]:
                del self._open[workload]

    async def hold(self, request: Request, wait: Coroutine[None, None, Answer]) -> Answer | None:
        """What `wait` gives; None when the client is gone or we shut down first. Raises what `wait` raises.

        The request's body must have been read, or never have been there.
        """
        async with asyncio.TaskGroup() as group:
            found = group.create_task(_outcome(wait))
            others = {group.create_task(_gone(request)), group.create_task(self._end_came())}
            await asyncio.wait({found, *others}, return_when=asyncio.FIRST_COMPLETED)
            for task in {found, *others}:
                task.cancel()  # changes nothing for one that is done
        if found.cancelled():
            return None
        answer = found.result()
        if isinstance(answer, ExtauthzError):
            raise answer
        return answer

    def end(self) -> None:
        """All that are open, and all that come."""
        self._end.set()

    async def _end_came(self) -> None:
        await self._end.wait()


async def _outcome(wait: Coroutine[None, None, Answer]) -> Answer | ExtauthzError:
    """A fault as a value: a task group would wrap it."""
    try:
        return await wait
    except ExtauthzError as error:
        return error


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
