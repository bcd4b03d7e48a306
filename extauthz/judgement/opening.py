"""From settings to a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.judgement.sqlite import SqliteQueue
from extauthz.store.opening import password
from extauthz.store.settings import SqliteStoreSettings

if TYPE_CHECKING:
    from extauthz.clock import Clock
    from extauthz.judgement.queue import Queue
    from extauthz.judgement.settings import JudgementSettings


def open_queue(settings: JudgementSettings, clock: Clock) -> Queue:
    """Connects to nothing yet: the first operation does. Raises ConfigError when a password cannot be read. Blocks."""
    store = settings.queue
    if isinstance(store, SqliteStoreSettings):
        return SqliteQueue(store, settings, clock)
    from extauthz.judgement.redis import RedisQueue  # noqa: PLC0415 - a large library that most processes do without

    return RedisQueue(store, settings, clock, password(store))
