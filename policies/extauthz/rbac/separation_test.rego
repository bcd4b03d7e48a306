package extauthz.rbac.separation_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.rbac.separation

test_one_role_passes if separation.outcome == "pass" with input as samples.transfer

test_compatible_roles_pass if separation.outcome == "pass" with input as roles(["wire-operator", "support-agent"])

test_conflicting_roles if {
	separation.outcome.code == "role.conflict" with input as roles(["wire-operator", "wire-approver"])
	separation.outcome.code == "role.conflict" with input as roles(["support-agent", "auditor", "wire-operator"])
}

test_exclusion_holds_in_both_directions if {
	every role in {"a", "b"} {
		separation.outcome.code == "role.conflict" with input as roles(["a", "b"])
			with data.extauthz.tables.roles as {
				"a": {"excludes": [other | other := "b"; role == "a"]},
				"b": {"excludes": [other | other := "a"; role == "b"]},
			}
	}
}

test_role_that_does_not_say_is_refused if {
	separation.outcome.code == "role.conflict" with input as samples.transfer
		with data.extauthz.tables.roles as {"wire-operator": {}}
}

test_excluded_roles_exist if {
	every role in data.extauthz.tables.roles {
		every name in role.excludes {
			data.extauthz.tables.roles[name]
		}
	}
}

roles(value) := samples.bend(samples.transfer, "/subject/properties/roles", value)
