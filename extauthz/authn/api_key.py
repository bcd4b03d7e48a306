"""API keys: `x-api-key: xak_<8 id characters>_<43 characters>`, for callers that can do no better.

Laws
- A key is a name and a secret of 256 random bits; only SHA-256 of the whole is kept, so a plain hash suffices.
- Somebody who does not hold the secret learns nothing: not whether the id is known, nor expired, nor for which route,
  and cannot use up the holder's rate.
- A key opens the routes that its row names, and no other.
- A broken file changes nothing, and what it said still expires.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn.api_key_file import parse
from extauthz.authn.api_key_settings import KEY_ID
from extauthz.authn.files import WatchedFile
from extauthz.bucket import Bucket
from extauthz.errors import ConfigError
from extauthz.model import Deny, Reason, Subject, deny

if TYPE_CHECKING:
    from extauthz.authn.api_key_settings import ApiKeyRow, ApiKeySettings
    from extauthz.clock import Clock
    from extauthz.model import Request

log = logging.getLogger(__name__)

HEADER: Final = "x-api-key"
"""Where a key comes; it is removed before the request goes upstream."""
_FORM: Final = re.compile(rf"xak_({KEY_ID})_[A-Za-z0-9_-]{{43}}")
_MISSING: Final = Deny((Reason("token.missing", "No API key.", f"Send {HEADER}."),))
_MALFORMED: Final = Deny((Reason("token.malformed", "The API key is malformed.", "Send the key as it was given out."),))
_UNKNOWN: Final = deny("token.api_key_unknown")
_EXPIRED: Final = Deny((Reason("token.expired", "The API key has expired.", "Ask for a new key."),))
_NOBODY: Final = bytes(32)
"""Compared with where no row has the id, so that both take the same time; no SHA-256 that anyone knows is this."""


@dataclass(slots=True, eq=False)
class _Use:
    """What a key has done in this process; it outlives a reload of the file."""

    bucket: Bucket
    count: int = 0
    limited: int = 0
    last: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    row: ApiKeyRow
    digest: bytes
    subject: Subject
    routes: frozenset[str]
    use: _Use


class ApiKeys:
    """The keys in force. Raises ConfigError when made with a file that cannot be used; without one there are none."""

    __slots__ = ("_clock", "_file", "_keys", "_settings", "problem")

    def __init__(self, settings: ApiKeySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._file = None if settings.file is None else WatchedFile(settings.file)
        self._keys: dict[str, _Key] = {}
        self.problem = ""
        if self._file is not None:
            self._keys = self._read(self._file.changed() or b"")

    def verify(self, request: Request, route: str) -> Subject | Deny:  # noqa: PLR0911 - one return a refusal, numbered
        """Who the request's key speaks for on the route of this name, or why it is refused. Never suspends.

        1. the header came exactly once
        2. it has the form of a key
        3. the id is known, and SHA-256 of the key is the row's, compared in constant time; both failures look alike
        4. the key has not expired
        5. the key names this route
        6. the key has not been used too often (a token bucket a key, in this process)
        """
        if HEADER in request.duplicated_headers:  # 1
            return deny("request.header_duplicated", HEADER)
        sent = request.headers.get(HEADER)
        if sent is None:
            return _MISSING
        match = _FORM.fullmatch(sent)
        if match is None:  # 2
            # Envoy joins repeated headers with a comma.
            return deny("request.header_duplicated", HEADER) if "," in sent else _MALFORMED
        key = self._keys.get(match[1])
        known = _NOBODY if key is None else key.digest
        if not hmac.compare_digest(hashlib.sha256(sent.encode()).digest(), known) or key is None:  # 3
            return _UNKNOWN
        now = self._clock.now()
        if now >= key.row.expires:  # 4
            return _EXPIRED
        if route not in key.routes:  # 5
            return deny("token.api_key_route", f"key {key.row.id}")
        rate = key.row.rate
        wait = key.use.bucket.take(self._clock.monotonic(), float(rate.requests), rate.requests / rate.per)
        if wait:  # 6
            key.use.limited += 1
            return Deny((Reason("token.rate_limited", detail=f"key {key.row.id}"),), ttl=wait)
        key.use.count += 1
        key.use.last = now
        return key.subject

    def reload(self) -> bool:
        if self._file is None:
            return False
        try:
            content = self._file.changed()
            if content is None:
                return False
            keys = self._read(content)
        except ConfigError as error:
            self.problem = str(error)
            log.error("API keys kept as they were: %s", error)  # noqa: TRY400 - the message says all
            return False
        self._keys = keys
        self.problem = ""
        return True

    def status(self) -> dict[str, Any]:
        """What operators are told: how many keys there are, what is wrong with the file, which keys were used."""
        used = [key for key in self.usage() if key["count"] or key["limited"]]
        return {"keys": len(self._keys), "problem": self.problem, "used": used}

    def usage(self) -> list[dict[str, Any]]:
        """What each key has done in this process, by id; times in seconds since the epoch, `last_used` 0: never."""
        return [
            {
                "id": key.row.id,
                "subject": key.row.subject,
                "routes": sorted(key.routes),
                "expires_at": key.row.expires,
                "count": key.use.count,
                "limited": key.use.limited,
                "last_used": key.use.last,
            }
            for key in self._keys.values()
        ]

    def _read(self, content: bytes) -> dict[str, _Key]:
        path = "" if self._file is None else str(self._file.path)
        rows = parse(content, path, now=self._clock.now(), max_keys=self._settings.max_keys)
        return {row.id: self._key(row) for row in rows}

    def _key(self, row: ApiKeyRow) -> _Key:
        before = self._keys.get(row.id)
        use = _Use(Bucket(float(row.rate.requests), self._clock.monotonic())) if before is None else before.use
        return _Key(row, bytes.fromhex(row.sha256), _subject(row), frozenset(row.routes), use)


def _subject(row: ApiKeyRow) -> Subject:
    claims: dict[str, Any] = {"roles": list(row.roles), "scopes": sorted(row.scopes)}
    if row.tenant:
        claims["tenant"] = row.tenant
    return Subject(
        type="service",
        id=row.subject,
        credential="api_key",
        scopes=frozenset(row.scopes),
        token_id=row.id,
        expires_at=row.expires,
        claims=claims,
        digest=row.sha256[:16],
    )
