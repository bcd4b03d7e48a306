# METADATA
# title: Separation of duties
# description: Nobody holds two roles at the same time of which one excludes the other.
package extauthz.rbac.separation

import data.extauthz.lib.subject

outcome := "pass" if {
	every role in subject.roles {
		compatible(data.extauthz.tables.roles[role].excludes)
	}
} else := {"code": "role.conflict", "detail": sprintf("roles %v", [subject.roles])}

compatible(excluded) if {
	every role in excluded {
		not role in subject.roles
	}
}
