# METADATA
# title: The class of transaction
package extauthz.abac.transaction

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.transaction_type"} if {
	not given
} else := "pass" if {
	some role in subject.roles
	input.resource.properties.transaction_type in data.extauthz.tables.roles[role].transaction_types
} else := {"code": "attribute.transaction_type", "detail": "see transaction_types in tables/roles"}

given if subject.known(input.resource.properties.transaction_type)
