package extauthz.payments_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.payments

test_transfer_at_the_edge if {
	payments.decision == {"allow": true, "obligations": {"mask": []}, "ttl": 5} with input as samples.transfer
}

test_transfer_at_orchestration if {
	payments.decision.allow with input as samples.bend(samples.transfer, "/context/workload", samples.gateway)
}

test_transfer_above_the_limit if {
	codes == ["attribute.amount_limit"] with input as json.patch(samples.transfer, [
		{"op": "add", "path": "/resource/properties/amount", "value": 75000},
		{"op": "add", "path": "/resource/properties/approvals", "value": 1},
	])
}

test_transfer_without_four_eyes if {
	codes == ["attribute.four_eyes"] with input as samples.bend(samples.transfer, "/resource/properties/amount", 40000)
}

test_layers_in_order if {
	codes == [
		"workload.zone_boundary", "role.permission_missing",
		"attribute.tenant_mismatch", "attribute.purpose", "attribute.currency",
	] with input as json.patch(samples.transfer, [
		{"op": "add", "path": "/context/workload", "value": samples.scorer},
		{"op": "add", "path": "/subject/properties/roles", "value": ["support-agent"]},
		{"op": "add", "path": "/subject/properties/purpose", "value": "support"},
		{"op": "add", "path": "/resource/properties/tenant", "value": "initech"},
	])
}

test_cancel if {
	cancel := samples.bend(samples.transfer, "/action/name", "transfer.cancel")
	payments.decision.allow with input as samples.without(cancel, "/resource/properties/amount")
	codes == ["attribute.transaction_type"] with input as samples.bend(
		cancel,
		"/resource/properties/transaction_type", "card",
	)
}

test_read_masks_what_is_above_clearance if {
	payments.decision.obligations.mask == ["debtor_iban"] with input as read("confidential")
}

test_read_above_clearance if codes == ["attribute.clearance"] with input as read("restricted")

test_report if {
	report := json.patch(read("confidential"), [
		{"op": "add", "path": "/action/name", "value": "report.read"},
		{"op": "add", "path": "/resource/type", "value": "report"},
		{"op": "add", "path": "/subject/properties/roles", "value": ["auditor"]},
		{"op": "add", "path": "/subject/properties/purpose", "value": "audit"},
		{"op": "remove", "path": "/resource/properties/transaction_type"},
	])
	payments.decision.obligations.mask == ["iban"] with input as report
	codes == ["attribute.environment_refused"] with input as json.patch(report, [
		{"op": "add", "path": "/context/environment", "value": "staging"},
		{"op": "add", "path": "/resource/properties/masked", "value": true},
	])
}

test_other_domains_action if codes == ["role.action_unknown"] with input as samples.features

test_nothing_known_denies if payments.decision.allow == false with input as {}

codes := [reason.code | some reason in payments.decision.reasons]

read(class) := json.patch(samples.transfer, [
	{"op": "add", "path": "/action/name", "value": "transfer.read"},
	{"op": "add", "path": "/resource/properties/data_class", "value": class},
	{"op": "remove", "path": "/resource/properties/amount"},
])
