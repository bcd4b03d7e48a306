# METADATA
# title: Models
# description: Scoring with a model and explaining a score (called by the orchestrator), reading scores, releasing models.
package extauthz.models

import data.extauthz.abac.data_class
import data.extauthz.abac.masking
import data.extauthz.abac.model_stage
import data.extauthz.abac.model_version
import data.extauthz.baseline
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this model be used, read or promoted?
# description: Allows only when every guard of the action passes.
# entrypoint: true
decision := verdict.decide(outcomes, {"mask": mask}, 10)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.models"}]

outcomes := array.concat(baseline.tenant_bound, [model_stage.outcome, model_version.outcome]) if {
	input.action.name in {"score.create", "score.explain"}
}

outcomes := array.concat(baseline.tenant_bound, [data_class.outcome, masking.outcome]) if {
	input.action.name == "score.read"
}

outcomes := array.concat(baseline.platform, [model_stage.promotion, model_version.outcome]) if {
	input.action.name == "model.promote"
}

default mask := []

mask := masking.fields if input.action.name == "score.read"
