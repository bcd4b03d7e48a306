package extauthz.features_test

import data.extauthz.features
import data.extauthz.lib.samples_test as samples

test_rows_of_the_own_tenant if {
	features.decision == {
		"allow": true,
		"obligations": {
			"mask": ["holder_name", "iban"],
			"metadata": {"tenant": "acme", "transaction_type": "wire"},
		},
		"ttl": 10,
	} with input as samples.features
}

test_rows_of_another_tenant if {
	codes == ["attribute.tenant_mismatch"] with input as samples.bend(
		samples.features,
		"/resource/properties/tenant", "initech",
	)
}

test_rows_of_another_class_of_transaction if {
	codes == ["attribute.transaction_type"] with input as samples.bend(
		samples.features,
		"/resource/properties/transaction_type", "card",
	)
}

test_user_does_not_read_directly if {
	codes == ["workload.missing", "role.delegated_only"] with input as samples.without(
		samples.features,
		"/context/workload",
	)
}

test_other_zone_does_not_read if {
	codes == ["workload.zone_boundary"] with input as samples.bend(
		samples.features,
		"/context/workload", samples.orchestrator,
	)
}

test_training_writes_in_staging if {
	write := json.patch(samples.features, [
		{"op": "add", "path": "/action/name", "value": "features.write"},
		{"op": "add", "path": "/subject", "value": {"type": "workload", "id": "x"}},
		{"op": "add", "path": "/context", "value": {
			"environment": "staging",
			"workload": {"id": samples.id("staging", "training", "retrainer")},
		}},
	])
	features.decision.obligations.mask == [] with input as write
	codes == ["workload.action_denied", "attribute.environment_refused"] with input as samples.bend(
		write,
		"/context", {"environment": "prod", "workload": samples.retrainer},
	)
}

test_other_domains_action if codes == ["role.action_unknown"] with input as samples.transfer

test_nothing_known_denies if features.decision.allow == false with input as {}

codes := [reason.code | some reason in features.decision.reasons]
