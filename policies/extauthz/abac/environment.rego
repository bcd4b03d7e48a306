# METADATA
# title: Where an action may be done
package extauthz.abac.environment

outcome := {"code": "attribute.environment_unknown", "detail": "not in tables/environments"} if {
	not registered
} else := "pass" if {
	input.context.environment in data.extauthz.tables.actions[input.action.name].environments
} else := {"code": "attribute.environment_refused", "detail": "see environments in tables/actions"}

registered if data.extauthz.tables.environments[input.context.environment]
