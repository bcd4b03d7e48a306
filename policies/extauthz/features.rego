# METADATA
# title: Features
# description: Feature rows of one tenant and one class of transaction, at storage (called by the fraud scorer).
package extauthz.features

import data.extauthz.abac.data_class
import data.extauthz.abac.masking
import data.extauthz.abac.transaction
import data.extauthz.baseline
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May these feature rows be read or written?
# description: |
#   Allows only when every guard of the action passes. `metadata` repeats what was judged: the rows of this tenant and
#   class of transaction, and no others.
# entrypoint: true
decision := verdict.decide(outcomes, {"mask": mask, "metadata": rows}, 10)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.features"}]

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome, data_class.outcome, masking.outcome]) if {
	input.action.name == "features.read"
}

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome]) if input.action.name == "features.write"

default mask := []

mask := masking.fields if input.action.name == "features.read"

default rows := {}

rows := {
	"tenant": input.resource.properties.tenant,
	"transaction_type": input.resource.properties.transaction_type,
}
