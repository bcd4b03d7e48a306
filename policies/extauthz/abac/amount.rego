# METADATA
# title: Limits of one transfer
# description: |
#   The limit is the highest that any of the subject's roles has for this transaction type and currency. An amount is a
#   JSON number: "100" is refused, for its order would be that of strings.
package extauthz.abac.amount

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.amount"} if {
	not input.resource.properties.amount
} else := {"code": "attribute.amount_invalid", "detail": "resource.properties.amount is not a number above 0"} if {
	not valid
} else := {"code": "attribute.missing", "detail": "resource.properties.currency"} if {
	not denominated
} else := {"code": "attribute.currency", "detail": "see per_role in tables/limits"} if {
	not limit
} else := "pass" if {
	input.resource.properties.amount <= limit
} else := {"code": "attribute.amount_limit", "detail": sprintf("limit %v", [limit])}

valid if {
	is_number(input.resource.properties.amount)
	input.resource.properties.amount > 0
}

denominated if subject.known(input.resource.properties.currency)

limit := max({highest |
	some role in subject.roles
	limits := data.extauthz.tables.limits.per_role[role]
	highest := limits[input.resource.properties.transaction_type][input.resource.properties.currency]
	is_number(highest)
})
