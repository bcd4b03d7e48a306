"""A worker's side of the HTTP API: one request in, one answer out. What is not configured does not exist."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from extauthz.api.decisions import DECISIONS, Decisions
from extauthz.api.evaluations import EVALUATION, EVALUATIONS, METADATA, Evaluations
from extauthz.api.messages import problem
from extauthz.api.rollouts import ROLLOUT, Rollouts

if TYPE_CHECKING:
    from extauthz.api.messages import ApiAnswer, ApiRequest
    from extauthz.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Api:
    """Each endpoint may be None: it is answered as if it had never been there."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        evaluations: Evaluations | None = None,
        decisions: Decisions | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        self._metrics = metrics
        self._evaluations = evaluations
        self._decisions = decisions
        self._rollouts = rollouts

    async def handle(self, request: ApiRequest) -> ApiAnswer:
        """Raises nothing but CancelledError."""
        endpoint, methods = _endpoint(request.path)
        part = self._part(endpoint)
        if part is None:
            answer = problem(HTTPStatus.NOT_FOUND, "not found")
        elif request.method not in methods:
            answer = problem(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", allow=", ".join(methods))
        elif isinstance(part, Evaluations) and endpoint == "metadata":
            answer = part.metadata()
        else:
            try:
                answer = await part.answer(request)
            except Exception:
                log.exception("an API request failed")
                answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        if endpoint:
            self._metrics.api(endpoint, answer.status)
        return answer

    def _part(self, endpoint: str) -> Evaluations | Decisions | Rollouts | None:
        if endpoint in {"evaluation", "evaluations", "metadata"}:
            return self._evaluations
        if endpoint == "decisions":
            return self._decisions
        return self._rollouts if endpoint == "rollout" else None


def _endpoint(path: str) -> tuple[str, tuple[str, ...]]:
    """The endpoint's name, as metrics say it, and its methods; empty for no endpoint of ours."""
    known = {
        EVALUATION: ("evaluation", ("POST",)),
        EVALUATIONS: ("evaluations", ("POST",)),
        METADATA: ("metadata", ("GET",)),
        ROLLOUT: ("rollout", ("GET", "POST")),
    }
    if path.startswith(DECISIONS):
        return "decisions", ("GET",)
    return known.get(path, ("", ()))
