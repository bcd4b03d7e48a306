package extauthz.abac.resource_test

import data.extauthz.abac.resource
import data.extauthz.lib.samples_test as samples

test_fitting_type_passes if resource.outcome == "pass" with input as samples.transfer

test_other_type if {
	every value in {"model", "", null, ["transfer"]} {
		resource.outcome.code == "attribute.resource_type" with input as samples.bend(
			samples.transfer,
			"/resource/type", value,
		)
	}
}

test_unknown_action_fits_nothing if {
	resource.outcome.code == "attribute.resource_type" with input as samples.bend(
		samples.transfer,
		"/action/name", "vault.open",
	)
}

test_nothing_known if resource.outcome.code == "attribute.resource_type" with input as {}
