from extauthz.testing import assert_allowed, assert_denied

SETTLEMENT = "spiffe://bank.example/env/prod/ns/batch/sa/settlement"


def pay(extauthz, token, **payment):
    return extauthz.check("POST", "/v1/payments", token=token, json={"tenant": "acme", "amount": 250, **payment})


def test_a_clerk_pays(extauthz, token):
    assert_allowed(pay(extauthz, token("alice")), subject="alice", headers={"x-extauthz-tenant": "acme"})


def test_not_from_another_tenant_s_account(extauthz, token):
    answer = pay(extauthz, token("alice"), tenant="globex")
    assert_denied(answer, layer="attribute", code="attribute.tenant_mismatch")
    assert answer.record["result"]["reasons"][0]["detail"] == "subject acme, resource globex"


def test_not_above_the_limit(extauthz, token):
    assert_denied(pay(extauthz, token("alice"), amount=1001), layer="attribute", code="attribute.amount_limit")
    assert_allowed(pay(extauthz, token("tess", roles=["treasurer"]), amount=1001))


def test_not_without_a_role(extauthz, token):
    assert_denied(pay(extauthz, token("carol", roles=["auditor"])), layer="role", code="role.permission_missing")


def test_not_with_an_expired_token(extauthz, token):
    assert_denied(pay(extauthz, token("alice", lifetime=-60)), layer="token", code="token.expired", status=401)


def test_settlement_is_for_the_batch_job(extauthz):
    assert_allowed(extauthz.check("POST", "/internal/settlements", caller=SETTLEMENT))
    web = SETTLEMENT.replace("/ns/batch/sa/settlement", "/ns/web/sa/shop")
    assert_denied(extauthz.check("POST", "/internal/settlements", caller=web), code="workload.route_denied")
    expired = extauthz.workload(SETTLEMENT, lifetime=-60)
    answer = extauthz.check("POST", "/internal/settlements", caller=expired)
    assert_denied(answer, layer="transport", code="transport.certificate_expired")
