# METADATA
# title: Roles grant actions
# description: |
#   A permission is the holder's own. A delegated action is only done on the holder's behalf, by a workload that
#   asks for it; the workload layer judges which one.
package extauthz.rbac.permission

import data.extauthz.lib.caller
import data.extauthz.lib.subject

outcome := "pass" if {
	own
} else := "pass" if {
	delegated
	caller.registered
} else := {"code": "role.delegated_only", "detail": "no registered workload asks on the subject's behalf"} if {
	delegated
} else := {"code": "role.none", "detail": "no role of the subject is in tables/roles"} if {
	count(subject.roles) == 0
} else := {"code": "role.permission_missing", "detail": sprintf("roles %v", [subject.roles])}

own if {
	some role in subject.roles
	input.action.name in data.extauthz.tables.roles[role].permissions
}

delegated if {
	some role in subject.roles
	input.action.name in data.extauthz.tables.roles[role].delegated
}
