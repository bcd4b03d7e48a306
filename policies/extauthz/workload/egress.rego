# METADATA
# title: Which zones a workload may call
package extauthz.workload.egress

import data.extauthz.lib.caller

outcome := {"code": "workload.unregistered", "detail": "see tables/workloads"} if {
	not caller.registered
} else := "pass" if {
	input.resource.id in caller.registered.calls
} else := {"code": "workload.egress_denied", "detail": "see calls in tables/workloads"}
