package extauthz.models_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.models

test_score if models.decision == {"allow": true, "obligations": {"mask": []}, "ttl": 10} with input as samples.score

test_explain_needs_its_own_purpose if {
	explain := samples.bend(samples.score, "/action/name", "score.explain")
	models.decision.allow with input as samples.bend(explain, "/subject/properties/purpose", "risk-explanation")
	codes == ["attribute.purpose"] with input as explain
}

test_staging_model_in_prod if {
	codes == ["attribute.model_stage"] with input as json.patch(samples.score, [
		{"op": "add", "path": "/resource/properties/model/version", "value": "3.2.0"},
		{"op": "add", "path": "/resource/properties/model/stage", "value": "staging"},
	])
}

test_staging_model_that_says_production if {
	codes == ["attribute.model_stage_mismatch"] with input as samples.bend(
		samples.score,
		"/resource/properties/model/version", "3.2.0",
	)
}

test_read_score if {
	read := json.patch(samples.score, [
		{"op": "add", "path": "/action/name", "value": "score.read"},
		{"op": "add", "path": "/resource/properties/data_class", "value": "confidential"},
		{"op": "add", "path": "/context/workload", "value": samples.gateway},
	])
	models.decision.obligations.mask == [] with input as read
	models.decision.obligations.mask == ["contributions"] with input as samples.bend(
		read,
		"/resource/properties/masked", true,
	)
	codes == ["attribute.clearance"] with input as samples.bend(read, "/resource/properties/data_class", "restricted")
}

test_promote if {
	promote := json.patch(samples.score, [
		{"op": "add", "path": "/action/name", "value": "model.promote"},
		{"op": "add", "path": "/subject/properties/roles", "value": ["model-owner"]},
		{"op": "add", "path": "/subject/properties/purpose", "value": "model-release"},
		{"op": "add", "path": "/resource/properties/model", "value": {
			"name": "fraud",
			"version": "3.2.0",
			"stage": "staging",
		}},
	])
	models.decision.allow with input as promote
	codes == ["attribute.model_stage", "attribute.model_stage_mismatch"] with input as samples.bend(
		promote,
		"/resource/properties/model/stage", "production",
	)
	codes == ["role.permission_missing"] with input as samples.bend(
		promote,
		"/subject/properties/roles", ["data-scientist"],
	)
}

test_other_domains_action if codes == ["role.action_unknown"] with input as samples.features

test_nothing_known_denies if models.decision.allow == false with input as {}

codes := [reason.code | some reason in models.decision.reasons]
