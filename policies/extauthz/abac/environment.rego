# METADATA
# title: Where an action may be done
package extauthz.abac.environment

outcome := {"code": "attribute.environment_unknown", "detail": "not in tables/environments"} if {
	not data.extauthz.tables.environments[input.context.environment]
} else := "pass" if {
	input.context.environment in data.extauthz.tables.actions[input.action.name].environments
} else := {"code": "attribute.environment_refused", "detail": "see environments in tables/actions"}
