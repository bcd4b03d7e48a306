# METADATA
# title: The obligation to mask
# description: |
#   Fields above the subject's clearance are always masked; a request for masked data masks every field that needs it,
#   which makes "masked" true.
package extauthz.abac.masking

import data.extauthz.lib.classification
import data.extauthz.lib.subject

fields := [field |
	some field, name in data.extauthz.tables.masking[input.resource.type]
	not shown(data.extauthz.tables.classifications[name])
]

shown(class) if {
	class.rank <= subject.clearance
	class.needs_masking == false
}

shown(class) if {
	class.rank <= subject.clearance
	classification.masked == false
}
