package extauthz.abac.environment_test

import data.extauthz.abac.environment
import data.extauthz.lib.samples_test as samples

test_listed_environment_passes if environment.outcome == "pass" with input as samples.transfer

test_unknown_environment if {
	every value in {"moon", "", null, 7, ["prod"]} {
		environment.outcome.code == "attribute.environment_unknown" with input as called(samples.transfer, value)
	}
	environment.outcome.code == "attribute.environment_unknown" with input as samples.without(
		samples.transfer,
		"/context/environment",
	)
}

test_action_not_in_this_environment if {
	exported := samples.bend(samples.dataset, "/action/name", "dataset.export")
	environment.outcome == "pass" with input as exported
	environment.outcome.code == "attribute.environment_refused" with input as called(exported, "staging")
}

test_unknown_action_is_nowhere if {
	environment.outcome.code == "attribute.environment_refused" with input as samples.bend(
		samples.transfer,
		"/action/name", "vault.open",
	)
}

called(document, name) := samples.bend(document, "/context/environment", name)
