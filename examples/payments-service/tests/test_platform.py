"""The whole way: client, Envoy, extauthz, service. Runs on the composed platform."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def post(url, token, **payment):
    body = json.dumps({"tenant": "acme", "amount": 250, **payment}).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "x-extauthz-subject": "mallory"}
    try:
        with urlopen(Request(f"{url}/v1/payments", body, headers), timeout=10) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


def test_the_service_learns_who_pays(payments_url, token):
    assert post(payments_url, token("alice")) == (201, {"for": "alice", "amount": 250})


def test_a_denial_reaches_the_client_and_its_detail_stays_here(payments_url, token, extauthz):
    status, answer = post(payments_url, token("alice"), tenant="globex")
    assert (status, answer["layer"], answer["code"]) == (403, "attribute", "attribute.tenant_mismatch")
    record = extauthz.record(answer["decision_id"])
    assert record["result"]["reasons"][0]["detail"] == "subject acme, resource globex"
    assert "globex" not in json.dumps(answer)
