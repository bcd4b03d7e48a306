# METADATA
# title: Payments
# description: Transfers and reports, at the edge (no calling workload) and at orchestration (called by the gateway).
package extauthz.payments

import data.extauthz.abac.amount
import data.extauthz.abac.data_class
import data.extauthz.abac.four_eyes
import data.extauthz.abac.masking
import data.extauthz.abac.transaction
import data.extauthz.baseline
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this transfer be made, cancelled or read; may this report be read?
# description: Allows only when every guard of the action passes.
# entrypoint: true
decision := verdict.decide(outcomes, {"mask": mask}, 5)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.payments"}]

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome, amount.outcome, four_eyes.outcome]) if {
	input.action.name == "transfer.create"
}

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome]) if input.action.name == "transfer.cancel"

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome, data_class.outcome, masking.outcome]) if {
	input.action.name == "transfer.read"
}

outcomes := array.concat(baseline.tenant_bound, [data_class.outcome, masking.outcome]) if {
	input.action.name == "report.read"
}

default mask := []

mask := masking.fields if input.action.name in {"transfer.read", "report.read"}
