# METADATA
# title: Every domain behind one entrypoint
# description: |
#   Sends an action to its domain by the noun before the dot. A route that names its domain's entrypoint instead shares
#   cached decisions better, for fewer attributes are read.
package extauthz.main

import data.extauthz.approvals
import data.extauthz.datasets
import data.extauthz.features
import data.extauthz.lib.verdict
import data.extauthz.models
import data.extauthz.operations
import data.extauthz.payments

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this be done?
# description: The decision of the action's domain; an action without one is refused.
# entrypoint: true
decision := approvals.decision if {
	input.action.name == "transfer.approve"
} else := payments.decision if {
	noun in {"transfer", "report"}
} else := models.decision if {
	noun in {"score", "model"}
} else := features.decision if {
	noun == "features"
} else := operations.decision if {
	noun in {"rates", "usage", "limits", "event"}
} else := datasets.decision if {
	noun == "dataset"
} else := verdict.decide([{"code": "role.action_unknown", "detail": "extauthz.main"}], {}, 0)

noun := split(input.action.name, ".")[0]
