package extauthz.abac.dataset_test

import data.extauthz.abac.dataset
import data.extauthz.lib.samples_test as samples

test_masked_training_data_passes if dataset.outcome == "pass" with input as samples.dataset

test_above_clearance if {
	dataset.outcome.code == "attribute.clearance" with input as unmasked(samples.dataset)
	dataset.outcome == "pass" with input as unmasked(classified("confidential"))
}

test_environment_does_not_hold_it if {
	dataset.outcome.code == "attribute.classification_environment" with input as called(samples.dataset, "staging")
	dataset.outcome.code == "attribute.classification_environment" with input as called(
		classified("confidential"),
		"dev",
	)
	dataset.outcome.code == "attribute.classification_environment" with input as called(samples.dataset, "moon")
}

test_low_trust_environment if {
	dataset.outcome == "pass" with input as called(classified("confidential"), "staging")
	dataset.outcome.code == "attribute.unmasked_low_trust" with input as unmasked(called(classified("confidential"), "staging"))
}

test_unknown_classification if {
	dataset.outcome.code == "attribute.data_class_unknown" with input as classified("secret")
}

test_missing_or_malformed if {
	every pointer in {"/resource/properties/dataset/name", "/resource/properties/dataset/classification"} {
		every value in {null, "", 7, ["public"]} {
			dataset.outcome.code == "attribute.missing" with input as samples.bend(samples.dataset, pointer, value)
		}
		dataset.outcome.code == "attribute.missing" with input as samples.without(samples.dataset, pointer)
	}
}

test_no_clearance if {
	dataset.outcome.code == "attribute.missing" with input as samples.without(samples.dataset, "/context/workload")
}

test_subject_of_no_known_type_has_no_clearance if {
	dataset.outcome.code == "attribute.missing" with input as samples.bend(samples.dataset, "/subject/type", "robot")
}

classified(name) := samples.bend(samples.dataset, "/resource/properties/dataset/classification", name)

unmasked(document) := samples.bend(document, "/resource/properties/masked", false)

called(document, name) := samples.bend(document, "/context/environment", name)
