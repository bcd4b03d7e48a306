# METADATA
# title: Batch jobs inherit nothing
# description: A batch workload acts in its own name only; a user's token in its hands gives it no rights.
package extauthz.rbac.inheritance

import data.extauthz.lib.caller
import data.extauthz.lib.subject

outcome := "pass" if {
	not caller.registered
} else := "pass" if {
	caller.registered.kind == "service"
} else := "pass" if {
	subject.workload
} else := {"code": "role.not_inherited", "detail": "the calling workload is not registered as a service"}
