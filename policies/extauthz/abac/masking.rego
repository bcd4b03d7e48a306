# METADATA
# title: The obligation to mask
# description: |
#   Fields above the subject's clearance are always masked; a request for masked data masks every field that needs it,
#   which makes "masked" true. A type of resource whose fields nobody has classified is not returned at all.
package extauthz.abac.masking

import data.extauthz.lib.classification
import data.extauthz.lib.subject

outcome := "pass" if {
	is_object(sensitive)
} else := {"code": "attribute.masking_unknown", "detail": "not in tables/masking"}

# METADATA
# description: For `obligations.mask`.
fields := sort({field | some field, _ in sensitive} - shown)

sensitive := data.extauthz.tables.masking[input.resource.type]

shown contains field if {
	some field, name in sensitive
	class := data.extauthz.tables.classifications[name]
	class.rank <= subject.clearance
	unmasked(class)
}

unmasked(class) if class.needs_masking == false

unmasked(_) if classification.masked == false
