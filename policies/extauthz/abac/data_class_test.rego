package extauthz.abac.data_class_test

import data.extauthz.abac.data_class
import data.extauthz.lib.samples_test as samples

test_cleared_passes if data_class.outcome == "pass" with input as samples.features

test_above_clearance if {
	data_class.outcome.code == "attribute.clearance" with input as classed("restricted")
	data_class.outcome.code == "attribute.clearance" with input as cleared("internal")
}

test_masking_lowers_the_class if {
	data_class.outcome == "pass" with input as masked(classed("restricted"), true)
	data_class.outcome == "pass" with input as masked(cleared("internal"), true)
	data_class.outcome.code == "attribute.clearance" with input as masked(cleared("public"), true)
}

test_only_a_literal_true_is_masked if {
	every value in {false, "true", 1, null, [true]} {
		data_class.outcome.code == "attribute.clearance" with input as masked(classed("restricted"), value)
		data_class.outcome.code == "attribute.unmasked_low_trust" with input as called(
			masked(samples.features, value),
			"staging",
		)
	}
}

test_low_trust_environment if {
	every name in {"staging", "dev", "moon"} {
		data_class.outcome.code == "attribute.unmasked_low_trust" with input as called(samples.features, name)
		data_class.outcome == "pass" with input as called(masked(samples.features, true), name)
		data_class.outcome == "pass" with input as called(classed("internal"), name)
	}
	data_class.outcome.code == "attribute.unmasked_low_trust" with input as samples.without(
		samples.features,
		"/context/environment",
	)
}

test_unknown_class if data_class.outcome.code == "attribute.data_class_unknown" with input as classed("secret")

test_missing_or_malformed if {
	every value in {null, "", 7, ["public"]} {
		data_class.outcome.code == "attribute.missing" with input as classed(value)
	}
	data_class.outcome.code == "attribute.missing" with input as samples.without(
		samples.features,
		"/resource/properties/data_class",
	)
}

test_no_clearance if {
	every value in {null, "", 7, "top", ["restricted"]} {
		data_class.outcome.code == "attribute.missing" with input as cleared(value)
	}
}

classed(name) := samples.bend(samples.features, "/resource/properties/data_class", name)

cleared(name) := samples.bend(samples.features, "/subject/properties/clearance", name)

masked(document, value) := samples.bend(document, "/resource/properties/masked", value)

called(document, name) := samples.bend(document, "/context/environment", name)
