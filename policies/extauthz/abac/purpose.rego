# METADATA
# title: Purpose limitation
package extauthz.abac.purpose

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "subject purpose"} if {
	count(subject.purposes) == 0
} else := "pass" if {
	some purpose in subject.purposes
	purpose in data.extauthz.tables.actions[input.action.name].purposes
} else := {"code": "attribute.purpose", "detail": "see purposes in tables/actions"}
