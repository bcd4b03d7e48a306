package extauthz.operations_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.operations

partner := json.patch(samples.transfer, [
	{"op": "add", "path": "/subject", "value": {
		"type": "service", "id": "partner-rates",
		"properties": {"roles": ["rates-reader"]},
	}},
	{"op": "add", "path": "/action/name", "value": "rates.read"},
	{"op": "add", "path": "/resource", "value": {"type": "rates", "id": ""}},
])

administrator := json.patch(samples.transfer, [
	{"op": "add", "path": "/subject/properties/roles", "value": ["limits-admin"]},
	{"op": "add", "path": "/subject/properties/purpose", "value": "administration"},
	{"op": "add", "path": "/action/name", "value": "limits.update"},
	{"op": "add", "path": "/resource", "value": {"type": "limits", "id": "wire"}},
])

test_partner_reads_rates if operations.decision == {"allow": true, "obligations": {}, "ttl": 10} with input as partner

test_partner_changes_no_limit if {
	codes(samples.bend(partner, "/action/name", "limits.update"))["role.permission_missing"]
}

test_roles_alone_decide_on_counts if {
	counts := json.patch(samples.transfer, [
		{"op": "add", "path": "/action/name", "value": "usage.read"},
		{"op": "add", "path": "/resource", "value": {"type": "usage", "id": "acme"}},
	])
	operations.decision.allow with input as counts
	operations.decision.allow with input as samples.bend(counts, "/resource/id", "globex")
	operations.decision.allow with input as samples.bend(counts, "/subject/properties/purpose", "training")
	codes(samples.bend(counts, "/subject/properties/roles", ["support-agent"])) == {"role.permission_missing"}
}

test_an_app_reports_events_of_its_own_tenant if {
	event := json.patch(samples.transfer, [
		{"op": "add", "path": "/action/name", "value": "event.report"},
		{"op": "add", "path": "/resource", "value": {"type": "event", "id": "", "properties": {"tenant": "acme"}}},
	])
	operations.decision.allow with input as event
	codes(samples.bend(event, "/resource/properties/tenant", "globex")) == {"attribute.tenant_mismatch"}
	codes(samples.bend(event, "/subject/properties/roles", ["support-agent"])) == {"role.permission_missing"}
}

test_administrator_changes_a_limit if operations.decision.allow with input as administrator

test_administrator_for_another_purpose if {
	codes(samples.bend(administrator, "/subject/properties/purpose", "payment")) == {"attribute.purpose"}
}

test_other_action if {
	codes(samples.bend(administrator, "/action/name", "limits.read")) == {"role.action_unknown"}
}

codes(question) := {reason.code | some reason in found} if {
	found := operations.decision.reasons with input as question
}
