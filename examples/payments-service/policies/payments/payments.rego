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

default checks := []

checks := [permission, tenant, amount] if input.action.name == "payment.create"

checks := [workload] if input.action.name == "payment.settle"

permission := "pass" if {
	some role in input.subject.properties.roles
	input.action.name in data.payments.roles[role].actions
} else := {
	"code": "role.permission_missing",
	"message": "None of your roles permits this.",
	"remedy": "Ask for a role of policies/payments/roles with this action.",
	"detail": sprintf("%s needs one of %v", [input.action.name, [name | some name, role in data.payments.roles; input.action.name in role.actions]]),
}

tenant := "pass" if {
	input.resource.properties.tenant == input.subject.properties.tenant
} else := {
	"code": "attribute.tenant_mismatch",
	"message": "The payment belongs to another tenant.",
	"remedy": "Pay from an account of your own tenant.",
	"detail": sprintf("subject %v, resource %v", [input.subject.properties.tenant, input.resource.properties.tenant]),
}

amount := "pass" if {
	some role in input.subject.properties.roles
	input.resource.properties.amount <= data.payments.roles[role].limit
} else := {
	"code": "attribute.amount_limit",
	"message": "The amount is above your limit.",
	"remedy": "Ask someone with a higher limit.",
	"detail": sprintf("amount %v", [input.resource.properties.amount]),
}

workload := "pass" if {
	input.context.workload.namespace == "batch"
} else := {
	"code": "role.workload",
	"message": "Only batch jobs settle payments.",
	"remedy": "Settle from the batch namespace.",
	"detail": "settlement outside batch",
}
