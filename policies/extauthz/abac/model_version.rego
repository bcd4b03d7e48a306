# METADATA
# title: The version of a model
# description: The version is registered, not retired, and deployed as the stage that it was released to.
package extauthz.abac.model_version

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "resource.properties.model.name or version"} if {
	not named
} else := {"code": "attribute.model_unknown", "detail": "not in tables/models"} if {
	not released
} else := {"code": "attribute.model_retired", "detail": "see stage in tables/models"} if {
	released == "retired"
} else := "pass" if {
	input.resource.properties.model.stage == released
} else := {"code": "attribute.model_stage_mismatch", "detail": sprintf("released to %s", [released])}

named if {
	subject.known(input.resource.properties.model.name)
	subject.known(input.resource.properties.model.version)
}

released := data.extauthz.tables.models[input.resource.properties.model.name][input.resource.properties.model.version].stage
