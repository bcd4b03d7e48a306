# METADATA
# title: Payments
# description: Role, then tenant, then amount. Each check is "pass" or a reason; the first reason decides.
package payments

default decision := {"allow": false}

decision := {"allow": true, "ttl": 5} if {
	count(checks) > 0
	every check in checks {
		check == "pass"
	}
} else := {"allow": false, "reasons": [check | some check in checks; check != "pass"], "ttl": 1}

# An undefined check leaves all of them undefined, and nothing is allowed.
default checks := []

checks := [permission, tenant, amount] if input.action.name == "payment.create"

checks := [workload] if input.action.name == "payment.settle"

permission := "pass" if {
	some role in input.subject.properties.roles
	input.action.name in data.payments.roles[role].actions
} else := refuse("role.permission_missing", sprintf("no role of the subject has %s", [input.action.name]))

tenant := "pass" if {
	input.resource.properties.tenant == input.subject.properties.tenant
} else := refuse(
	"attribute.tenant_mismatch",
	sprintf("subject %v, resource %v", [input.subject.properties.tenant, input.resource.properties.tenant]),
)

amount := "pass" if {
	some role in input.subject.properties.roles
	input.resource.properties.amount <= data.payments.roles[role].limit
} else := refuse("attribute.amount_limit", sprintf("amount %v", [input.resource.properties.amount]))

workload := "pass" if {
	input.context.workload.namespace == "batch"
} else := refuse("role.workload", "settlement outside batch")

# Message and remedy stand in reasons/data.yaml; the detail is for operators.
refuse(code, detail) := object.union(data.payments.reasons[code], {"code": code, "detail": detail})
