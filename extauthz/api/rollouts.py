"""`/policy/rollout`: what the candidate does, and an operator's choice about it.

`GET` gives this worker's numbers. `POST {"action", "live", "candidate"}` makes a choice:

| action | what follows |
| --- | --- |
| `promote` | the candidate answers everybody, from now on and (with `policy.candidate.state`) over restarts |
| `rollback` | it answers nobody: shadow, or off where `rollback.to` says so |
| `clear` | the choice is forgotten: the configuration decides again |

1. authenticated by `api.rollout`, as `GET /decisions/{id}` is
2. `live` and `candidate` are the revisions that the operator saw; others mean that the world has moved on: 409
3. whether a promotion is safe is asked by the parent, which sees all workers (`api.combined`)
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extauthz import strict_json
from extauthz.api.evaluations import refused
from extauthz.api.messages import ApiAnswer, json_answer, problem
from extauthz.authn.access import Gate
from extauthz.errors import ExtauthzError
from extauthz.model import Deny
from extauthz.policy.rollout_state import Choice, Phase

if TYPE_CHECKING:
    from extauthz.api.messages import ApiRequest
    from extauthz.authn.access import AccessSettings
    from extauthz.authn.bearer import BearerTokens
    from extauthz.clock import Clock
    from extauthz.policy.rollout import Rollout

ROLLOUT: Final = "/policy/rollout"
ACTIONS: Final = ("promote", "rollback", "clear")
_MAX_BODY: Final = 4096
_MAX_DEPTH: Final = 4


class Rollouts:
    """`rollout` None: there is no candidate; `live` is the revision that answers then."""

    def __init__(
        self, settings: AccessSettings, *, tokens: BearerTokens, rollout: Rollout | None, live: str, clock: Clock
    ) -> None:
        self._gate = Gate(settings, tokens)
        self._rollout = rollout
        self._live = live
        self._clock = clock

    async def answer(self, request: ApiRequest) -> ApiAnswer:
        caller = await self._gate.admit(request.authorization, unix=request.unix)  # 1
        if isinstance(caller, Deny):
            return refused(caller)
        if request.method == "GET":
            return json_answer({"live": self._live, "candidate": None} if self._rollout is None else self._status())
        if self._rollout is None:
            return problem(HTTPStatus.CONFLICT, "there is no candidate: policy.candidate is not configured")
        try:
            asked = strict_json.parse(request.body, max_bytes=_MAX_BODY, max_depth=_MAX_DEPTH).root
        except strict_json.NotStrict as malformed:
            return problem(HTTPStatus.BAD_REQUEST, str(malformed))
        if not isinstance(asked, dict) or asked.get("action") not in ACTIONS:
            return problem(HTTPStatus.BAD_REQUEST, f"action must be one of {', '.join(ACTIONS)}")
        return await self._choose(self._rollout, asked["action"], asked, caller.id)

    def _status(self) -> dict[str, object]:
        return self._rollout.status() if self._rollout is not None else {}

    async def _choose(self, rollout: Rollout, action: str, asked: dict[str, object], who: str) -> ApiAnswer:
        numbers = rollout.numbers()
        if (asked.get("live"), asked.get("candidate")) != (numbers["live"], numbers["candidate"]):  # 2
            return problem(HTTPStatus.CONFLICT, "the policies have changed since: ask for the status again")
        choice = None
        if action != "clear":
            phase = Phase.PROMOTED if action == "promote" else rollout.rollback_to
            by = "promote" if action == "promote" else "rollback"
            choice = Choice(numbers["live"], numbers["candidate"], phase, by, f"by {who}", self._clock.now())  # type: ignore[arg-type]  # one of the literals
        try:
            warning = await rollout.choose(choice)
        except ExtauthzError as error:
            return problem(HTTPStatus.CONFLICT, str(error))
        return json_answer({"phase": rollout.phase.value, "warning": warning})
