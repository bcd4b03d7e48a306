"""What every store can do. Tables hold values by key, logs hold entries in order; both forget at a given time.

Laws, held by one contract suite over all implementations:
- `add`, `take` and `swap` are atomic across processes and replicas: of two that race, exactly one wins.
- A value whose `expires` has passed is absent, whether or not it has been swept yet.
- A log's sequence numbers start at 1 and grow by 1; a reader that has seen N misses nothing by asking for what is
  after N, unless the entry has expired meanwhile.
- A store that cannot answer raises StoreError within its timeout; it never answers "absent" for "unknown".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Sequence


class StoreError(ExtauthzError):
    """The store could not be asked, or its answer cannot be used."""


class Store(Protocol):
    """Names of tables and logs are `[a-z][a-z0-9-]*`; keys are text of at most 512 bytes, values at most 1 MiB.

    `expires` is in seconds since the epoch; None keeps the value for good.
    """

    async def get(self, table: str, key: str) -> bytes | None: ...

    async def put(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> None: ...

    async def add(self, table: str, key: str, value: bytes, *, expires: float | None = None) -> bool:
        """Only where the key is absent; whether it was."""

    async def take(self, table: str, key: str) -> bytes | None:
        """Read and delete in one step: a value is taken once."""

    async def swap(self, table: str, key: str, old: bytes | None, new: bytes, *, expires: float | None = None) -> bool:
        """Replace `old` (None: absent) by `new`; False, and nothing changed, when something else stands there."""

    async def delete(self, table: str, key: str) -> bool: ...

    async def scan(self, table: str, prefix: str = "", limit: int = 10_000) -> list[tuple[str, bytes]]:
        """Keys in order, with their values."""

    async def append(self, log: str, entry: bytes, *, expires: float | None = None) -> int:
        """The entry's sequence number."""

    async def read(self, log: str, after: int = 0, limit: int = 10_000) -> Sequence[tuple[int, bytes]]: ...

    async def last(self, log: str) -> int:
        """The sequence number of the newest entry that was ever appended; 0: none."""

    async def wait(self, log: str, after: int, timeout: float) -> bool:
        """Until the log holds something after `after`, or `timeout` seconds have passed; whether it does."""

    async def close(self) -> None: ...
