# METADATA
# title: Four eyes
# description: Above the threshold a second person has approved. No threshold for the currency means always.
package extauthz.abac.four_eyes

outcome := "pass" if {
	small
} else := "pass" if {
	approved
} else := {"code": "attribute.four_eyes", "detail": "above four_eyes in tables/limits and not approved"}

small if {
	is_number(input.resource.properties.amount)
	thresholds := data.extauthz.tables.limits.four_eyes[input.resource.properties.transaction_type]
	input.resource.properties.amount <= thresholds[input.resource.properties.currency]
}

approved if {
	is_number(input.resource.properties.approvals)
	input.resource.properties.approvals >= 1
}
