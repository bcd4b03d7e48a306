# METADATA
# title: The stage of a model
# description: An environment serves models of its own stages; only a staging model is promoted.
package extauthz.abac.model_stage

import data.extauthz.lib.subject

outcome := missing if {
	not given
} else := "pass" if {
	input.resource.properties.model.stage in data.extauthz.tables.environments[input.context.environment].model_stages
} else := {"code": "attribute.model_stage", "detail": "see model_stages in tables/environments"}

promotion := missing if {
	not given
} else := "pass" if {
	input.resource.properties.model.stage == "staging"
} else := {"code": "attribute.model_stage", "detail": "only a staging model is promoted"}

given if subject.known(input.resource.properties.model.stage)

missing := {"code": "attribute.missing", "detail": "resource.properties.model.stage"}
