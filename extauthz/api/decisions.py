"""`GET /decisions/{id}`: the whole story of a decision, for operators alone.

1. authenticated by `api.decisions`: a token with the scope that its rule asks for, or the Unix socket. There is no
   finer grant: a story can hold any route's callers, so its scope belongs to those who operate the server
2. the worker's own memory; when the parent asks for more, the file of decision records
3. an id that is none of ours and one that is not found look the same: 404
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.api.evaluations import refused
from extauthz.api.messages import ApiAnswer, json_answer, problem
from extauthz.authn.access import Gate
from extauthz.model import Deny
from extauthz.telemetry.tickets import ID, find_in_file

if TYPE_CHECKING:
    from extauthz.api.messages import ApiRequest
    from extauthz.api.settings import DecisionsSettings
    from extauthz.authn.bearer import BearerTokens
    from extauthz.telemetry.tickets import Tickets

DECISIONS: Final = "/decisions/"


class Decisions:
    """`records`: where decision records go (`telemetry.records.output`)."""

    def __init__(self, settings: DecisionsSettings, *, tokens: BearerTokens, tickets: Tickets, records: str) -> None:
        self._gate = Gate(settings, tokens)
        self._tickets = tickets
        self._records = Path(records) if "/" in records else None

    async def answer(self, request: ApiRequest) -> ApiAnswer:
        caller = await self._gate.admit(request.authorization, unix=request.unix)  # 1
        if isinstance(caller, Deny):
            return refused(caller)
        decision_id = request.path.removeprefix(DECISIONS)
        story = self._tickets.find(decision_id) if ID.fullmatch(decision_id) else None  # 2, 3
        if story is None and request.deep and self._records is not None:
            story = await asyncio.to_thread(find_in_file, self._records, decision_id)
        if story is None:
            return problem(HTTPStatus.NOT_FOUND, "no such decision is known here")
        return json_answer(story)
