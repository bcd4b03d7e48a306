package extauthz.abac.masking_test

import data.extauthz.abac.masking
import data.extauthz.lib.samples_test as samples

test_fields_above_clearance if {
	masking.fields == ["holder_name", "iban"] with input as samples.features
	masking.fields == [] with input as cleared("restricted")
}

test_masked_masks_all_that_needs_it if {
	masking.fields == everything with input as samples.bend(samples.features, "/resource/properties/masked", true)
	masking.fields == everything with input as samples.bend(cleared("restricted"), "/resource/properties/masked", true)
}

test_no_clearance_masks_all if {
	masking.fields == everything with input as cleared("top")
	masking.fields == everything with input as samples.without(samples.features, "/subject/properties/clearance")
}

test_unknown_class_is_masked if {
	masking.fields == ["note"] with input as cleared("restricted")
		with data.extauthz.tables.masking as {"features": {"note": "secret"}}
}

test_what_needs_no_masking_is_shown if {
	masking.fields == [] with input as samples.bend(samples.features, "/resource/properties/masked", true)
		with data.extauthz.tables.masking as {"features": {"note": "internal"}}
}

test_known_type_passes if masking.outcome == "pass" with input as samples.features

test_unclassified_type if {
	every value in {"vault", null, ["features"]} {
		masking.outcome.code == "attribute.masking_unknown" with input as samples.bend(
			samples.features,
			"/resource/type", value,
		)
	}
}

everything := ["device_id", "geo", "holder_name", "iban"]

cleared(name) := samples.bend(samples.features, "/subject/properties/clearance", name)
