package extauthz.rbac.permission_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.rbac.permission

test_permission_passes if permission.outcome == "pass" with input as samples.transfer

test_permission_missing if {
	permission.outcome.code == "role.permission_missing" with input as roles(samples.transfer, ["support-agent"])
}

test_delegated_passes_through_a_workload if permission.outcome == "pass" with input as samples.features

test_delegated_without_a_workload if {
	permission.outcome.code == "role.delegated_only" with input as samples.without(samples.features, "/context/workload")
	permission.outcome.code == "role.delegated_only" with input as samples.bend(
		samples.features,
		"/context/workload/id", "spiffe://bank.example/env/prod/ns/model/sa/rogue",
	)
}

test_own_permission_beats_delegation if {
	permission.outcome == "pass" with input as samples.without(
		roles(samples.features, ["wire-operator", "feature-reader"]),
		"/context/workload",
	)
}

test_no_role if {
	every value in {
		[], ["root"], [7], [null], [["wire-operator"]], "wire-operator", "", null, true,
		{"wire-operator": true}, {"role": "wire-operator"},
	} {
		permission.outcome.code == "role.none" with input as roles(samples.transfer, value)
	}
	permission.outcome.code == "role.none" with input as samples.without(samples.transfer, "/subject/properties/roles")
	permission.outcome.code == "role.none" with input as {}
}

test_unknown_action if {
	every value in {"vault.open", "", "*", null, ["transfer.create"]} {
		permission.outcome.code == "role.permission_missing" with input as samples.bend(
			samples.transfer,
			"/action/name", value,
		)
	}
}

test_workload_has_the_roles_of_its_registration if {
	permission.outcome == "pass" with input as samples.dataset
	permission.outcome.code == "role.none" with input as json.patch(samples.dataset, [
		{"op": "add", "path": "/context/workload", "value": samples.gateway},
		{"op": "add", "path": "/subject/properties", "value": {"roles": ["model-trainer"]}},
	])
}

test_no_role_may_do_everything if {
	actions := {name | some name, _ in data.extauthz.tables.actions}
	every role in data.extauthz.tables.roles {
		count(actions - {name | some name in array.concat(role.permissions, role.delegated)}) > 0
	}
}

roles(document, value) := samples.bend(document, "/subject/properties/roles", value)
