package extauthz.workload.scope_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.workload.scope

test_tenant_of_the_registration_passes if scope.outcome == "pass" with input as samples.dataset

test_platform_service_serves_all if scope.outcome == "pass" with input as samples.score

test_no_workload_no_scope if scope.outcome == "pass" with input as samples.transfer

test_other_tenant if {
	every value in {"globex", "", null, ["acme"]} {
		scope.outcome.code == "workload.tenant_scope" with input as samples.bend(
			samples.dataset,
			"/resource/properties/tenant", value,
		)
	}
	scope.outcome.code == "workload.tenant_scope" with input as samples.without(samples.dataset, "/resource")
}

test_unregistered_has_none if {
	scope.outcome.code == "workload.tenant_scope" with input as samples.bend(
		samples.dataset,
		"/context/workload/id", "spiffe://bank.example/env/prod/ns/training/sa/rogue",
	)
}
