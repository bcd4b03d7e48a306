# METADATA
# title: The action fits the resource
package extauthz.abac.resource

outcome := "pass" if {
	input.resource.type == data.extauthz.tables.actions[input.action.name].resource
} else := {"code": "attribute.resource_type", "detail": "see resource in tables/actions"}
