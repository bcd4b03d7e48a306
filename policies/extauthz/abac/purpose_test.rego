package extauthz.abac.purpose_test

import data.extauthz.abac.purpose
import data.extauthz.lib.samples_test as samples

test_right_purpose_passes if purpose.outcome == "pass" with input as samples.transfer

test_wrong_purpose if purpose.outcome.code == "attribute.purpose" with input as stated("support")

test_unknown_action_has_no_purpose if {
	purpose.outcome.code == "attribute.purpose" with input as samples.bend(samples.transfer, "/action/name", "vault.open")
}

test_missing_or_malformed if {
	every value in {null, "", 7, ["payment"]} {
		purpose.outcome.code == "attribute.missing" with input as stated(value)
	}
	purpose.outcome.code == "attribute.missing" with input as samples.without(
		samples.transfer,
		"/subject/properties/purpose",
	)
}

test_workload_has_the_purposes_of_its_registration if {
	purpose.outcome == "pass" with input as samples.dataset
	purpose.outcome.code == "attribute.missing" with input as samples.bend(
		samples.dataset,
		"/context/workload", samples.gateway,
	)
}

test_workload_does_not_choose_its_purpose if {
	purpose.outcome.code == "attribute.purpose" with input as json.patch(samples.dataset, [
		{"op": "add", "path": "/context/workload", "value": samples.scorer},
		{"op": "add", "path": "/subject/properties", "value": {"purpose": "training"}},
	])
}

stated(value) := samples.bend(samples.transfer, "/subject/properties/purpose", value)
