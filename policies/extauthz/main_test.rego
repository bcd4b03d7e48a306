package extauthz.main_test

import data.extauthz.features
import data.extauthz.lib.samples_test as samples
import data.extauthz.main
import data.extauthz.payments

test_dispatch_answers_as_the_domain if {
	main.decision == payments.decision with input as samples.transfer
	main.decision == features.decision with input as samples.features
}

test_unknown_action if {
	every value in {"vault.open", "transferx.create", "", ".", null, 7, ["transfer.create"]} {
		decision := main.decision with input as samples.bend(samples.transfer, "/action/name", value)
		decision.allow == false
		decision.reasons[0].code == "role.action_unknown"
	}
}

test_every_action_has_a_domain if {
	every name, _ in data.extauthz.tables.actions {
		decision := main.decision with input as {"action": {"name": name}}
		decision.allow == false
		count([reason | some reason in decision.reasons; reason.code == "role.action_unknown"]) == 0
		count(decision.reasons) > 0
	}
}

test_nothing_known_denies if main.decision.allow == false with input as {}

test_actions_of_roles_and_workloads_exist if {
	every role in data.extauthz.tables.roles {
		every action in array.concat(role.permissions, role.delegated) {
			data.extauthz.tables.actions[action]
		}
	}
	every workload in data.extauthz.tables.workloads {
		every action in workload.actions {
			data.extauthz.tables.actions[action]
		}
	}
}
