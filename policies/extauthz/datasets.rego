# METADATA
# title: Datasets
# description: Training data, read by batch jobs in their own name or by people through the orchestrator.
package extauthz.datasets

import data.extauthz.abac.dataset
import data.extauthz.abac.export
import data.extauthz.abac.masking
import data.extauthz.abac.retention
import data.extauthz.baseline
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this dataset be read or exported?
# description: Allows only when every guard of the action passes.
# entrypoint: true
decision := verdict.decide(outcomes, {"mask": masking.fields}, 10)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.datasets"}]

outcomes := array.concat(baseline.tenant_bound, guards) if {
	input.action.name == "dataset.read"
}

outcomes := array.concat(baseline.tenant_bound, array.concat(guards, [export.outcome])) if {
	input.action.name == "dataset.export"
}

guards := [dataset.outcome, retention.outcome, masking.outcome]
