# METADATA
# title: Transfers
# description: Who may make a transfer, for which tenant, and up to which amount.
# schemas:
#   - input: schema.input
package authz.transfers

# What is answered when no rule below is defined: nothing is allowed by accident.
default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this transfer be made?
# description: Allows only when every condition is proved; otherwise the first one that is not denies.
# entrypoint: true
decision := {"allow": true, "ttl": 5} if {
	permitted
	own_tenant
	within_limit
} else := denial({
	"code": "role.permission_missing",
	"message": "You may not make transfers.",
	"remedy": "Ask for the role transfer-clerk.",
	"detail": "subject.properties.roles",
}) if {
	not permitted
} else := denial({
	"code": "attribute.tenant_mismatch",
	"message": "The account belongs to another tenant.",
	"remedy": "Use an account of your own tenant.",
	"detail": "subject.properties.tenant and resource.properties.tenant differ",
}) if {
	not own_tenant
} else := denial({
	"code": "attribute.amount_limit",
	"message": "The amount is above your limit, or has no limit in this currency.",
	"remedy": "Make a smaller transfer, or have it approved.",
	"detail": "see authz/limits",
})

permitted if "transfer-clerk" in input.subject.properties.roles

own_tenant if input.subject.properties.tenant == input.resource.properties.tenant

within_limit if {
	is_number(input.resource.properties.amount)
	input.resource.properties.amount > 0
	input.resource.properties.amount <= data.authz.limits.transfer[input.resource.properties.currency]
}

denial(reason) := {"allow": false, "reasons": [reason], "ttl": 1}
