"""A sleep that ends early when there is a reason."""

from __future__ import annotations

import asyncio


class Pause:
    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Ends the sleep that is under way, or else the next one."""
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def wait(self) -> None:
        """Until woken, however long that takes."""
        await self._woken.wait()
        self._woken.clear()
