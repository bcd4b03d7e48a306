# METADATA
# title: Operations
# description: |
#   Rates that partners read with an API key (a service without purpose or tenant) and counts of transfers: roles alone
#   decide. Limits, which an administrator changes. Events that an app reports of its own tenant.
package extauthz.operations

import data.extauthz.abac.environment
import data.extauthz.abac.resource
import data.extauthz.abac.tenant
import data.extauthz.baseline
import data.extauthz.lib.verdict
import data.extauthz.rbac.permission
import data.extauthz.workload.boundary

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May rates or counts be read, a limit be changed, or an event be reported?
# entrypoint: true
decision := verdict.decide(outcomes, {}, 10)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.operations"}]

outcomes := [boundary.outcome, permission.outcome, resource.outcome, environment.outcome] if {
	input.action.name in {"rates.read", "usage.read"}
}

outcomes := [boundary.outcome, permission.outcome, resource.outcome, tenant.outcome, environment.outcome] if {
	input.action.name == "event.report"
}

outcomes := baseline.platform if input.action.name == "limits.update"
