# METADATA
# title: Separation of duties
package extauthz.rbac.separation

import data.extauthz.lib.subject

outcome := "pass" if {
	every roles in data.extauthz.tables.separation.sets {
		count({role | some role in roles} & subject.roles) < 2
	}
} else := {"code": "role.conflict", "detail": sprintf("roles %v", [subject.roles])}
