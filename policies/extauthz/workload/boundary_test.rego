package extauthz.workload.boundary_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.workload.boundary

test_public_action_needs_no_workload if boundary.outcome == "pass" with input as samples.transfer

test_gateway_calls_orchestration if boundary.outcome == "pass" with input as from(samples.transfer, samples.gateway)

test_internal_action_needs_a_workload if {
	boundary.outcome.code == "workload.missing" with input as samples.without(samples.features, "/context/workload")
	boundary.outcome.code == "workload.missing" with input as samples.without(samples.features, "/context/workload/id")
	boundary.outcome.code == "workload.missing" with input as samples.bend(samples.transfer, "/action/name", "vault.open")
}

test_unregistered if {
	every value in {"spiffe://evil.example/env/prod/ns/model/sa/fraud-scorer", "", 7, null, [samples.scorer.id]} {
		boundary.outcome.code == "workload.unregistered" with input as from(samples.features, {"id": value})
		boundary.outcome.code == "workload.unregistered" with input as from(samples.transfer, {"id": value})
	}
}

test_other_environment if {
	staging := {"id": samples.id("staging", "model", "fraud-scorer")}
	boundary.outcome.code == "workload.environment" with input as from(samples.features, staging)
	boundary.outcome.code == "workload.environment" with input as samples.without(
		samples.features,
		"/context/environment",
	)
}

test_zone_boundary if {
	every caller in {samples.gateway, samples.orchestrator, samples.retrainer} {
		boundary.outcome.code == "workload.zone_boundary" with input as from(samples.features, caller)
	}
}

test_action_denied if {
	boundary.outcome.code == "workload.action_denied" with input as samples.bend(
		from(samples.features, samples.retrainer),
		"/action/name", "features.write",
	)
}

test_registrations_stay_within_the_boundaries if {
	every workload in data.extauthz.tables.workloads {
		every action in workload.actions {
			workload.zone in data.extauthz.tables.actions[action].callers
			workload.environment in data.extauthz.tables.actions[action].environments
		}
	}
}

from(document, workload) := samples.bend(document, "/context/workload", workload)
