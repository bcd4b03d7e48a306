# METADATA
# title: The classification of a dataset
# description: The environment may hold it, masked where trust is low, and the subject's clearance covers it.
package extauthz.abac.dataset

import data.extauthz.lib.classification
import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.dataset.name or classification"} if {
	not named
} else := {"code": "attribute.data_class_unknown", "detail": "not in tables/classifications"} if {
	not rank
} else := {"code": "attribute.classification_environment", "detail": "see max_classification in tables/environments"} if {
	not held
} else := {"code": "attribute.unmasked_low_trust", "detail": "see trust in tables/environments"} if {
	not admitted
} else := {"code": "attribute.missing", "detail": "subject clearance"} if {
	not subject.clearance
} else := "pass" if {
	subject.clearance >= rank
} else := {"code": "attribute.clearance", "detail": "see rank in tables/classifications"}

named if {
	subject.known(input.resource.properties.dataset.name)
	subject.known(input.resource.properties.dataset.classification)
}

rank := classification.rank(input.resource.properties.dataset.classification, classification.masked)

held if {
	highest := data.extauthz.tables.environments[input.context.environment].max_classification
	whole := classification.rank(input.resource.properties.dataset.classification, false)
	whole <= classification.rank(highest, false)
}

admitted if {
	classification.admitted(
		input.resource.properties.dataset.classification, classification.masked,
		input.context.environment,
	)
}
