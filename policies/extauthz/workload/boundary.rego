# METADATA
# title: Which workloads may ask for an action
# description: |
#   Both must agree: the zone's boundary (which zones may call, tables/actions) and the workload's own registration.
#   Without a workload only public actions pass; whether a route needs one is the route's business as well.
package extauthz.workload.boundary

import data.extauthz.lib.caller

outcome := "pass" if {
	caller.absent
	action.public == true
} else := {"code": "workload.missing", "detail": "not a public action"} if {
	caller.absent
} else := {"code": "workload.unregistered", "detail": "not in tables/workloads"} if {
	not caller.registered
} else := {"code": "workload.environment", "detail": "registered for another environment"} if {
	not same_environment
} else := {"code": "workload.zone_boundary", "detail": "see callers in tables/actions"} if {
	not zone_may_call
} else := "pass" if {
	input.action.name in caller.registered.actions
} else := {"code": "workload.action_denied", "detail": "see actions in tables/workloads"}

action := data.extauthz.tables.actions[input.action.name]

same_environment if caller.registered.environment == input.context.environment

zone_may_call if caller.registered.zone in action.callers
