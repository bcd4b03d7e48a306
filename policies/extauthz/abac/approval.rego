# METADATA
# title: Nobody approves a transfer of their own
# description: Reads subject.id, so only the approvals entrypoint uses it; elsewhere decisions are shared between subjects.
package extauthz.abac.approval

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.created_by or subject.id"} if {
	not named
} else := "pass" if {
	input.resource.properties.created_by != input.subject.id
} else := {"code": "attribute.own_approval", "detail": "created_by is the subject"}

named if {
	subject.known(input.resource.properties.created_by)
	subject.known(input.subject.id)
}
