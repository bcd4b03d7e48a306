package extauthz.rbac.separation_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.rbac.separation

test_one_role_passes if separation.outcome == "pass" with input as samples.transfer

test_compatible_roles_pass if separation.outcome == "pass" with input as roles(["wire-operator", "support-agent"])

test_conflicting_roles if {
	separation.outcome.code == "role.conflict" with input as roles(["wire-operator", "wire-approver"])
	separation.outcome.code == "role.conflict" with input as roles(["support-agent", "auditor", "wire-operator"])
}

test_without_the_table_nobody_passes if {
	separation.outcome.code == "role.conflict" with input as samples.transfer
		with data.extauthz.tables.separation as {}
}

test_sets_name_roles_that_exist if {
	every names in data.extauthz.tables.separation.sets {
		count(names) > 1
		every name in names {
			data.extauthz.tables.roles[name]
		}
	}
}

roles(value) := samples.bend(samples.transfer, "/subject/properties/roles", value)
