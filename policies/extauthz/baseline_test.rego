package extauthz.baseline_test

import data.extauthz.baseline
import data.extauthz.lib.samples_test as samples

test_allowed_input_passes_every_guard if {
	outcomes := baseline.tenant_bound with input as samples.transfer
	count(outcomes) == 10
	{outcome | some outcome in outcomes} == {"pass"}
}

test_platform_needs_no_tenant if {
	{outcome | some outcome in baseline.platform} == {"pass"} with input as samples.without(
		samples.score,
		"/resource/properties/tenant",
	)
}

test_nothing_known_fails_in_the_order_of_the_layers if {
	layers := [split(outcome.code, ".")[0] |
		some outcome in baseline.tenant_bound
		outcome != "pass"
	] with input as {}
	layers == ["workload", "role", "attribute", "attribute", "attribute", "attribute", "attribute"]
}
