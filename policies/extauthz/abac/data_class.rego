# METADATA
# title: Data class, clearance and masking
# description: |
#   The subject's clearance covers the class of what is returned. In a low-trust environment data that needs masking is
#   served only masked.
package extauthz.abac.data_class

import data.extauthz.lib.classification
import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.data_class"} if {
	not given
} else := {"code": "attribute.data_class_unknown", "detail": "not in tables/classifications"} if {
	not rank
} else := {"code": "attribute.unmasked_low_trust", "detail": "see trust in tables/environments"} if {
	not admitted
} else := {"code": "attribute.missing", "detail": "subject clearance"} if {
	not subject.clearance
} else := "pass" if {
	subject.clearance >= rank
} else := {"code": "attribute.clearance", "detail": "see rank in tables/classifications"}

given if subject.known(input.resource.properties.data_class)

rank := classification.rank(input.resource.properties.data_class, classification.masked)

admitted if {
	classification.admitted(input.resource.properties.data_class, classification.masked, input.context.environment)
}
