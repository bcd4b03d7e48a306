"""What a refused caller learns, by route: nothing, layer and code, or the message as well."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extauthz.check import respond
from extauthz.check.messages import CheckResponse
from extauthz.config import load_text
from extauthz.errors import ConfigError
from extauthz.model import Deny, Reason, Request, deny
from tests.support import parts
from tests.support.bank import open_bank, route

ID = "0f8e6a52-7a39-4f0e-9d55-6a3c3a1f0b1e"
DENIAL = Deny((Reason("attribute.amount_limit", "Above your limit.", "Ask.", "limit 3, asked 5"),))


def request(content_type: str = "application/json") -> Request:
    return Request(
        *("", "GET", "https", "h", "/", "", "HTTP/2", {"content-type": content_type}),
        *(b"", False, "", "", "", "", {}),
    )


def answer(decision: Deny, detail: str, content_type: str = "application/json") -> tuple[str, dict[str, str], Any]:
    response = CheckResponse.FromString(respond.deny(decision, ID, request(content_type), {}, detail))
    denied = response.denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    return denied.body, headers, response


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("none", {}),
        ("code", {"layer": "attribute", "code": "attribute.amount_limit"}),
        ("message", {"layer": "attribute", "code": "attribute.amount_limit", "message": "Above your limit."}),
    ],
)
def test_the_body_holds_the_ticket_and_no_more_than_the_route_allows(detail: str, told: dict[str, str]) -> None:
    body, headers, response = answer(DENIAL, detail)
    assert json.loads(body) == {**told, "decision_id": ID}
    assert headers["x-extauthz-decision-id"] == ID
    assert response.denied_response.status.code == 403
    assert "asked 5" not in str(response)


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ("none", f"decision {ID}"),
        ("code", f"attribute.amount_limit (decision {ID})"),
        ("message", f"attribute.amount_limit: Above your limit. (decision {ID})"),
    ],
)
def test_grpc_callers_learn_no_more(detail: str, text: str) -> None:
    _, headers, _ = answer(DENIAL, detail, "application/grpc")
    assert headers["grpc-message"] == text
    assert headers["grpc-status"] == "7"


@pytest.mark.parametrize("detail", ["none", "code"])
def test_a_challenge_stays_a_challenge_without_its_description(detail: str) -> None:
    _, headers, _ = answer(deny("token.expired"), detail)
    assert headers["www-authenticate"] == 'Bearer realm="extauthz", error="invalid_token"'
    _, headers, _ = answer(deny("token.expired"), "message")
    assert 'error_description="The token has expired."' in headers["www-authenticate"]


@pytest.mark.opa
@pytest.mark.embedded
async def test_the_route_decides(tmp_path: Any) -> None:
    parts.require_opa()
    parts.require_embedded()
    quiet = route("quiet", match={"path": "/v1/quiet", "methods": ["POST"]}, detail="none")
    bank = await open_bank(tmp_path, routes=[route("create-transfer"), quiet])
    loud = await bank.ask("a.b.c")
    assert set(json.loads(loud.body)) == {"layer", "code", "message", "decision_id"}
    silent = await bank.ask("a.b.c", route="quiet", path="/v1/quiet")
    assert set(json.loads(silent.body)) == {"decision_id"}
    assert silent.status == loud.status == 401
    assert silent.metadata["code"] == "token.malformed"  # Envoy's access log still knows
    await bank.close()


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="detail"):
        load_text("routes: [{name: a, action: x, resource: {type: y}, policy: a/b, detail: all}]")
