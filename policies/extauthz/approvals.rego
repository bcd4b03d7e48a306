# METADATA
# title: Approvals
# description: |
#   The second pair of eyes. Its own entrypoint, because it alone reads subject.id: decisions of the other domains are
#   shared by all subjects that are alike.
package extauthz.approvals

import data.extauthz.abac.amount
import data.extauthz.abac.approval
import data.extauthz.abac.transaction
import data.extauthz.baseline
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this subject approve this transfer?
# description: Allows only when every guard of the action passes.
# entrypoint: true
decision := verdict.decide(outcomes, {}, 1)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.approvals"}]

outcomes := array.concat(baseline.tenant_bound, [transaction.outcome, amount.outcome, approval.outcome]) if {
	input.action.name == "transfer.approve"
}
