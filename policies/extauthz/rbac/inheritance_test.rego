package extauthz.rbac.inheritance_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.rbac.inheritance

test_service_acts_for_a_user if inheritance.outcome == "pass" with input as samples.features

test_batch_job_acts_in_its_own_name if inheritance.outcome == "pass" with input as samples.dataset

test_no_workload_no_inheritance if inheritance.outcome == "pass" with input as samples.transfer

test_batch_job_with_a_users_token if {
	every value in {"user", "service", "", null} {
		inheritance.outcome.code == "role.not_inherited" with input as samples.bend(
			samples.dataset,
			"/subject/type", value,
		)
	}
	inheritance.outcome.code == "role.not_inherited" with input as samples.without(samples.dataset, "/subject")
}

test_workload_of_no_known_kind if {
	inheritance.outcome.code == "role.not_inherited" with input as samples.features
		with data.extauthz.tables.workloads as {samples.scorer.id: {"kind": "robot"}}
}
