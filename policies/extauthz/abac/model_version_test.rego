package extauthz.abac.model_version_test

import data.extauthz.abac.model_version
import data.extauthz.lib.samples_test as samples

test_released_version_passes if model_version.outcome == "pass" with input as samples.score

test_unknown_model_or_version if {
	every pointer in {"/resource/properties/model/name", "/resource/properties/model/version"} {
		model_version.outcome.code == "attribute.model_unknown" with input as samples.bend(samples.score, pointer, "9.9.9")
	}
}

test_retired_version if {
	retired := samples.bend(samples.score, "/resource/properties/model/version", "2.9.0")
	model_version.outcome.code == "attribute.model_retired" with input as retired
	model_version.outcome.code == "attribute.model_retired" with input as samples.bend(
		retired,
		"/resource/properties/model/stage", "retired",
	)
}

test_stage_is_not_the_released_one if {
	model_version.outcome.code == "attribute.model_stage_mismatch" with input as samples.bend(
		samples.score,
		"/resource/properties/model/version", "3.2.0",
	)
	model_version.outcome.code == "attribute.model_stage_mismatch" with input as samples.without(
		samples.score,
		"/resource/properties/model/stage",
	)
}

test_missing_or_malformed if {
	every pointer in {"/resource/properties/model/name", "/resource/properties/model/version"} {
		every value in {null, "", 3.1, ["3.1.0"]} {
			model_version.outcome.code == "attribute.missing" with input as samples.bend(samples.score, pointer, value)
		}
	}
}
