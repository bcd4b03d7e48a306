package extauthz.abac.retention_test

import data.extauthz.abac.retention
import data.extauthz.lib.samples_test as samples

test_within_retention_passes if {
	every value in {0, 10, 30} {
		retention.outcome == "pass" with input as aged(value)
	}
}

test_older_than_the_dataset_says if {
	every value in {30.5, 31, 1e9} {
		retention.outcome.code == "attribute.retention_exceeded" with input as aged(value)
	}
}

test_older_than_the_classification_allows if {
	retention.outcome.code == "attribute.retention_exceeded" with input as kept(aged(91), 365)
	retention.outcome == "pass" with input as samples.bend(
		kept(aged(91), 365),
		"/resource/properties/dataset/classification", "internal",
	)
}

test_unknown_classification_keeps_nothing if {
	retention.outcome.code == "attribute.retention_exceeded" with input as samples.bend(
		samples.dataset,
		"/resource/properties/dataset/classification", "secret",
	)
}

test_missing_or_malformed if {
	every value in {null, "10", -1, true, [10]} {
		retention.outcome.code == "attribute.missing" with input as aged(value)
		retention.outcome.code == "attribute.missing" with input as kept(samples.dataset, value)
	}
	retention.outcome.code == "attribute.missing" with input as {}
}

aged(days) := samples.bend(samples.dataset, "/resource/properties/dataset/age_days", days)

kept(document, days) := samples.bend(document, "/resource/properties/dataset/retention_days", days)
