# METADATA
# title: Whose data a workload may touch
package extauthz.workload.scope

import data.extauthz.lib.caller

outcome := "pass" if {
	caller.absent
} else := "pass" if {
	"*" in caller.registered.tenants
} else := "pass" if {
	input.resource.properties.tenant in caller.registered.tenants
} else := {"code": "workload.tenant_scope", "detail": "see tenants in tables/workloads"}
