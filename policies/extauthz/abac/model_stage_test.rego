package extauthz.abac.model_stage_test

import data.extauthz.abac.model_stage
import data.extauthz.lib.samples_test as samples

test_stage_of_the_environment_passes if model_stage.outcome == "pass" with input as samples.score

test_staging_model_in_prod if {
	every value in {"staging", "development", "retired", "Production"} {
		model_stage.outcome.code == "attribute.model_stage" with input as staged(value)
	}
}

test_staging_model_in_staging if {
	model_stage.outcome == "pass" with input as samples.bend(staged("staging"), "/context/environment", "staging")
	model_stage.outcome.code == "attribute.model_stage" with input as samples.bend(
		staged("development"),
		"/context/environment", "staging",
	)
}

test_unknown_environment_serves_nothing if {
	model_stage.outcome.code == "attribute.model_stage" with input as samples.bend(
		samples.score,
		"/context/environment", "moon",
	)
}

test_only_staging_is_promoted if {
	model_stage.promotion == "pass" with input as staged("staging")
	every value in {"production", "development", "retired"} {
		model_stage.promotion.code == "attribute.model_stage" with input as staged(value)
	}
}

test_missing_or_malformed if {
	every value in {null, "", 7, ["production"]} {
		model_stage.outcome.code == "attribute.missing" with input as staged(value)
		model_stage.promotion.code == "attribute.missing" with input as staged(value)
	}
	model_stage.outcome.code == "attribute.missing" with input as {}
}

staged(value) := samples.bend(samples.score, "/resource/properties/model/stage", value)
