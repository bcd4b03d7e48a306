package extauthz.datasets_test

import data.extauthz.datasets
import data.extauthz.lib.samples_test as samples

test_job_reads_masked_training_data if {
	datasets.decision.obligations.mask == ["customer_id", "device_id", "holder_name", "iban"] with input as samples.dataset
}

test_job_does_not_inherit_a_users_rights if {
	codes == ["role.not_inherited"] with input as samples.bend(samples.dataset, "/subject", scientist)
}

test_scientist_reads_through_the_orchestrator if {
	datasets.decision.allow with input as through_orchestrator(scientist, "dataset.read")
}

test_retention_exceeded if {
	codes == ["attribute.retention_exceeded"] with input as samples.bend(
		samples.dataset,
		"/resource/properties/dataset/age_days", 31,
	)
}

test_export if {
	exported := through_orchestrator(auditor, "dataset.export")
	codes == ["attribute.export_refused"] with input as exported
	datasets.decision.allow with input as samples.bend(
		exported,
		"/resource/properties/dataset/classification", "confidential",
	)
}

test_job_does_not_export if {
	codes == [
		"workload.zone_boundary", "role.permission_missing",
		"attribute.purpose", "attribute.export_refused",
	] with input as samples.bend(samples.dataset, "/action/name", "dataset.export")
}

test_other_domains_action if codes == ["role.action_unknown"] with input as samples.transfer

test_nothing_known_denies if datasets.decision.allow == false with input as {}

codes := [reason.code | some reason in datasets.decision.reasons]

scientist := json.patch(samples.alice, [
	{"op": "add", "path": "/properties/roles", "value": ["data-scientist"]},
	{"op": "add", "path": "/properties/purpose", "value": "training"},
])

auditor := json.patch(samples.alice, [
	{"op": "add", "path": "/properties/roles", "value": ["auditor"]},
	{"op": "add", "path": "/properties/purpose", "value": "audit"},
])

through_orchestrator(subject, action) := json.patch(samples.dataset, [
	{"op": "add", "path": "/subject", "value": subject},
	{"op": "add", "path": "/action/name", "value": action},
	{"op": "add", "path": "/context/workload", "value": samples.orchestrator},
])
