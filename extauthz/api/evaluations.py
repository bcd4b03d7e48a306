"""AuthZEN's HTTPS binding: `POST /access/v1/evaluation`, `POST /access/v1/evaluations` and the metadata.

1. the caller is authenticated before anything of its body is looked at: 401, or 403 for a missing scope
2. what cannot be asked is 400; a decision is 200, a denial as well
3. no decision at all (the engine is away, no time is left) is 503 with `retry-after`; in a batch the evaluation is
   `false` with the error in its context
4. an Allow's obligations go into the context: who enforces the decision must carry them out

Source: Authorization API 1.0, sections 6, 7, 9 and 10.
"""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from extauthz.api.messages import ApiAnswer, json_answer, problem
from extauthz.authn.access import Gate
from extauthz.authzen.evaluator import Asker
from extauthz.authzen.question import Batch, Malformed, batch, read, single
from extauthz.codes import Layer
from extauthz.model import Allow, Deny

if TYPE_CHECKING:
    from extauthz.api.messages import ApiRequest
    from extauthz.authn.bearer import BearerTokens
    from extauthz.authzen.evaluator import Answer, Evaluator
    from extauthz.authzen.question import Question
    from extauthz.authzen.settings import AuthzenSettings
    from extauthz.clock import Clock

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
METADATA: Final = "/.well-known/authzen-configuration"
RETRY_AFTER: Final = "1"


class Evaluations:
    def __init__(self, settings: AuthzenSettings, *, tokens: BearerTokens, evaluator: Evaluator, clock: Clock) -> None:
        self._settings = settings
        self._gate = Gate(settings, tokens)
        self._evaluator = evaluator
        self._clock = clock

    def metadata(self) -> ApiAnswer:
        """Section 9; anybody may read it."""
        url = self._settings.url
        return json_answer(
            {
                "policy_decision_point": url,
                "access_evaluation_endpoint": url + EVALUATION,
                "access_evaluations_endpoint": url + EVALUATIONS,
            },
            cache_control="max-age=300",
        )

    async def answer(self, request: ApiRequest) -> ApiAnswer:
        caller = await self._gate.admit(request.authorization, unix=request.unix)  # 1
        if isinstance(caller, Deny):
            return refused(caller)
        asker = Asker(caller, request.path, request.request_id, self._clock.monotonic() + self._settings.timeout)
        try:
            document = read(request.content_type, request.body, self._settings.max_body)
            if request.path == EVALUATION:
                asked: Batch | Question = single(document)
            else:
                asked = batch(document, self._settings.max_evaluations)
        except Malformed as malformed:
            return problem(HTTPStatus.BAD_REQUEST, str(malformed))  # 2
        if isinstance(asked, Batch):
            return json_answer({"evaluations": await self._batch(asked, asker)})
        answer = await self._evaluator.ask(asked, asker)
        decision = answer.decision
        if isinstance(decision, Deny) and decision.layer is Layer.ENGINE:  # 3
            text = f"{decision.code}: {decision.message} (decision {answer.decision_id})"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after=RETRY_AFTER)
        return json_answer(_plain(answer))

    async def _batch(self, asked: Batch, asker: Asker) -> list[dict[str, Any]]:
        """In order; one after another, so that a batch weighs on the engine no more than a Check does."""
        results = []
        for item in asked.items:
            if isinstance(item, Malformed):
                result = _error(HTTPStatus.BAD_REQUEST, str(item))
            else:
                result = _plain(await self._evaluator.ask(item, asker))
            results.append(result)
            if asked.semantic == "deny_on_first_deny" and not result["decision"]:
                break
            if asked.semantic == "permit_on_first_permit" and result["decision"]:
                break
        return results


def refused(decision: Deny) -> ApiAnswer:
    """A caller that may not use an endpoint (RFC 6750 section 3)."""
    status = HTTPStatus.FORBIDDEN if decision.code == "token.scope" else HTTPStatus.UNAUTHORIZED
    if decision.code == "token.scope":
        challenge = 'Bearer realm="extauthz", error="insufficient_scope"'
    elif decision.code in {"token.missing", "token.scheme"}:
        challenge = 'Bearer realm="extauthz"'
    else:
        challenge = 'Bearer realm="extauthz", error="invalid_token"'
    return problem(status, f"{decision.code}: {decision.message}", www_authenticate=challenge)


def _plain(answer: Answer) -> dict[str, Any]:
    decision = answer.decision
    context: dict[str, Any] = {"decision_id": answer.decision_id}
    if isinstance(decision, Allow):
        if obligations := _obligations(decision):  # 4
            context["obligations"] = obligations
        return {"decision": True, "context": context}
    if decision.layer is Layer.ENGINE:  # 3
        error = {"status": int(decision.status), "message": f"{decision.code}: {decision.message}"}
        return {"decision": False, "context": {**context, "error": error}}
    if answer.detail != "none":
        context |= {"layer": decision.layer.value, "code": decision.code}
    if answer.detail == "message":
        context["message"] = decision.message
    return {"decision": False, "context": context}


def _obligations(decision: Allow) -> dict[str, Any]:
    given = decision.obligations
    found: dict[str, Any] = {
        "headers": dict(given.headers),
        "mask": list(given.mask),
        "metadata": dict(given.metadata),
        "exchange": None if given.exchange is None else asdict(given.exchange),
    }
    return {name: value for name, value in found.items() if value}


def _error(status: HTTPStatus, message: str) -> dict[str, Any]:
    return {"decision": False, "context": {"error": {"status": int(status), "message": message}}}
