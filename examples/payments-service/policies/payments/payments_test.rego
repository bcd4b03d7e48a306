package payments_test

import data.payments

alice := {"id": "alice", "properties": {"roles": ["clerk"], "tenant": "acme"}}

payment(properties) := {
	"subject": alice,
	"action": {"name": "payment.create"},
	"resource": {"type": "payment", "properties": properties},
}

codes(decision) := [reason.code | some reason in decision.reasons]

test_a_clerk_pays_within_the_limit if {
	payments.decision.allow with input as payment({"tenant": "acme", "amount": 1000})
}

test_another_tenant_is_refused if {
	decision := payments.decision with input as payment({"tenant": "globex", "amount": 10})
	codes(decision) == ["attribute.tenant_mismatch"]
}

test_the_limit_is_the_role_s if {
	decision := payments.decision with input as payment({"tenant": "acme", "amount": 1000.01})
	codes(decision) == ["attribute.amount_limit"]
}

test_without_an_amount_nothing_is_allowed if {
	decision := payments.decision with input as payment({"tenant": "acme"})
	not decision.allow
}

test_without_a_role_nothing_is_allowed if {
	nobody := {"id": "carol", "properties": {"roles": [], "tenant": "acme"}}
	decision := payments.decision with input as payment({"tenant": "acme", "amount": 1}) with input.subject as nobody
	decision.reasons[0].code == "role.permission_missing"
}

test_an_unknown_action_is_refused if {
	decision := payments.decision with input as {"action": {"name": "payment.forget"}, "subject": alice}
	not decision.allow
}

test_only_batch_settles if {
	settle := {"action": {"name": "payment.settle"}, "context": {"workload": {"namespace": "batch"}}}
	payments.decision.allow with input as settle
	decision := payments.decision with input as settle with input.context.workload.namespace as "web"
	codes(decision) == ["role.workload"]
}
