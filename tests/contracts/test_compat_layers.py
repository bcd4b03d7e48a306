"""Our own layers in front of a compatible policy: only where a route asks for them, and then fail closed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.check.messages import CheckRequest, CheckResponse
from extauthz.errors import CallFailed, ConfigError, EngineFault
from tests.support import bank as support
from tests.support import compat_cases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.embedded
ALLOWED = {"allowed": True, "headers": {"x-role": "teller"}}
SPOOFED = {"allowed": True, "headers": {"x-role": "teller", "X-Extauthz_Subject": ["eve", "mallory"]}}


def policy(**plugin: Any) -> dict[str, Any]:
    return {
        "engine": "embedded",
        "path": str(compat_cases.POLICY),
        "compat": "opa-envoy-plugin",
        "opa_envoy_plugin": {"path": compat_cases.ENTRYPOINT, **plugin},
    }


def routes() -> list[dict[str, Any]]:
    return [support.route("create-transfer", attributes=[], policy=compat_cases.ENTRYPOINT, forward_token=False)]


@pytest.fixture(params=[False, True], ids=["live", "dry-run"])
async def bank(request, tmp_path) -> AsyncIterator[support.Bank]:
    made = await support.open_bank(tmp_path, policy=policy(**{"dry-run": request.param}), routes=routes())
    yield made
    await made.close()


def question(
    bank: support.Bank,
    result: Any = ALLOWED,
    *,
    path: str = "/v1/transfers",
    token: str | None = None,
    caller: str = support.GATEWAY,
    route: str = "",
    headers: dict[str, str] | None = None,
) -> bytes:
    message = CheckRequest()
    source, http = message.attributes.source, message.attributes.request.http
    if caller:
        source.principal = caller
        source.certificate = bank.leaf(caller).envoy
    http.method, http.path, http.host = "POST", path, "orchestration.bank.example"
    if token != "":
        http.headers["authorization"] = f"Bearer {token or bank.token()}"
    for name, value in (headers or {}).items():
        http.headers[name] = value
    if result is not None:
        message.attributes.context_extensions["result"] = json.dumps(result)
    if route:
        message.attributes.context_extensions["route"] = route
    return message.SerializeToString()


async def refused(bank: support.Bank, message: bytes) -> str:
    answer = support.read(await bank.app.check(message, 0.5))
    assert answer.status >= 400
    assert json.loads(answer.body)["code"] == answer.code
    return answer.code


@pytest.mark.attack
async def test_a_covered_request_is_checked_before_the_policy_is_asked(bank):
    assert await refused(bank, question(bank, token="")) == "token.missing"
    assert await refused(bank, question(bank, token="x.y.z")) == "token.malformed"
    assert await refused(bank, question(bank, caller="")) == "workload.missing"
    foreign = "spiffe://bank.example/env/staging/ns/edge/sa/gateway"
    assert await refused(bank, question(bank, caller=foreign)) == "workload.environment"
    other = "spiffe://bank.example/env/prod/ns/edge/sa/other"
    assert await refused(bank, question(bank, caller=other)) == "workload.route_denied"


@pytest.mark.attack
async def test_envoys_word_on_the_route_must_hold(bank):
    assert await refused(bank, question(bank, route="unknown")) == "request.route_unknown"
    assert await refused(bank, question(bank, path="/other", route="create-transfer")) == "request.route_mismatch"


@pytest.mark.attack
@pytest.mark.parametrize(
    "path", ["/v1//transfers", "/v1/./transfers", "/v1/%2e/transfers", "/v1%2Ftransfers", "/v1;/transfers"]
)
async def test_a_path_with_two_readings_does_not_get_around_the_route(bank, path):
    assert await refused(bank, question(bank, path=path)) == "request.path_ambiguous"


class BrokenTokens:
    """A verifier whose keys cannot be had in time."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def cached(self, *_: Any) -> None:
        return None

    async def verify(self, *_: Any) -> Any:
        raise self.error


@pytest.mark.attack
@pytest.mark.parametrize("error", [TimeoutError(), EngineFault("engine.deadline", "keys")])
async def test_a_layer_that_cannot_answer_denies_whatever_envoys_failure_mode(bank, error):
    bank.app._active.pipeline._credentials._tokens = BrokenTokens(error)
    assert await refused(bank, question(bank)) == "engine.deadline"


@pytest.mark.attack
async def test_identity_headers_are_ours_whatever_policy_and_client_say(bank):
    spoofed = {"x-extauthz-tenant": "evil", "x-extauthz-other": "1"}
    response = CheckResponse.FromString(await bank.app.check(question(bank, headers=spoofed), 0.5))
    assert response.status.code == 0
    headers = [(one.header.key, one.header.value, one.append_action) for one in response.ok_response.headers]
    assert headers[0] == ("x-role", "teller", 2)
    assert [one for one in headers if one[0] == "x-extauthz-subject"] == [("x-extauthz-subject", "alice", 2)]
    removed = set(response.ok_response.headers_to_remove)
    assert {"x-extauthz-other", "x-extauthz-mask", "authorization"} <= removed
    metadata = dict(response.dynamic_metadata)
    assert metadata["route"] == "create-transfer"
    assert metadata["subject"] == "alice"
    assert len(metadata["decision_id"]) == 36
    with pytest.raises(CallFailed, match="identity header"):
        await bank.app.check(question(bank, SPOOFED), 0.5)


async def test_a_policy_denial_on_a_covered_route(bank):
    response = CheckResponse.FromString(
        await bank.app.check(question(bank, {"allowed": False, "http_status": 402}), 0.5)
    )
    if response.status.code == 0:  # a dry run
        assert bank.shared.config.policy.opa_envoy_plugin.dry_run
        assert "x-extauthz-subject" in {one.header.key for one in response.ok_response.headers}
    else:
        assert response.denied_response.status.code == 402
    await bank.close()
    (record,) = bank.records()
    assert (record["code"], record["result"]["status"]) == ("role.denied", 402)
    assert record["subject"]["id"] == "alice"
    assert record["workload"] == support.GATEWAY
    assert record["request"]["route"] == "create-transfer"


async def test_an_uncovered_request_has_its_policy_only(bank):
    uncovered = question(bank, SPOOFED, path="/other", token="", caller="")
    seen = compat_cases.observed(await bank.app.check(uncovered, 0.5))
    assert [name for name, _, _ in seen["allow"]["headers"]] == ["X-Extauthz_Subject", "X-Extauthz_Subject", "x-role"]
    assert "remove" not in seen["allow"]


async def test_a_policy_without_an_answer_is_a_grpc_error_on_a_covered_route_too(bank):
    with pytest.raises(CallFailed) as caught:
        await bank.app.check(question(bank, None), 0.5)
    assert caught.value.status == 2
    await bank.close()
    assert 'extauthz_engine_faults_total{code="engine.undefined"} 1' in bank.app.metrics().decode()


async def test_metrics_name_the_uncovered_route(bank):
    await bank.app.check(question(bank, path="/other"), 0.5)
    await bank.close()
    assert 'extauthz_checks_total{decision="allow",route="opa-envoy-plugin"} 1' in bank.app.metrics().decode()


async def test_a_caller_that_leaves_is_recorded_and_not_allowed(bank):
    task = asyncio.get_running_loop().create_task(bank.app.check(question(bank, path="/other"), 0.5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bank.close()
    assert [record["result"]["allow"] for record in bank.records()] == [False]


async def test_the_grpc_status_of_a_fault(bank):
    """An engine that is late or away is told apart from a policy that has no answer; Envoy treats them alike."""
    late = question(bank, path="/other")
    with pytest.raises(CallFailed) as caught:
        await bank.app.check(late, 0.0)
    assert caught.value.status == 4


async def test_a_reload_changes_the_contract(tmp_path):
    made = await support.open_bank(tmp_path, policy=policy(), routes=[])
    try:
        message = question(made, False)
        assert CheckResponse.FromString(await made.app.check(message, 0.5)).status.code == 7
        made.write(policy=policy(**{"dry-run": True}), routes=[])
        assert await made.reload() == []
        assert CheckResponse.FromString(await made.app.check(message, 0.5)).status.code == 0
        made.write(policy=policy(path="compat/nothing"), routes=[])
        with pytest.raises(ConfigError, match="no rule at compat/nothing"):
            await made.reload()
        assert CheckResponse.FromString(await made.app.check(message, 0.5)).status.code == 0
        (tmp_path / "broken.desc").write_text("not a set")
        made.write(policy=policy(**{"proto-descriptor": "broken.desc"}), routes=[])
        assert "not a descriptor set" in " ".join(await made.reload())
        assert CheckResponse.FromString(await made.app.check(message, 0.5)).status.code == 0
    finally:
        await made.close()
