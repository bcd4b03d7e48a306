package extauthz.approvals_test

import data.extauthz.approvals
import data.extauthz.lib.samples_test as samples

test_another_person_approves if approvals.decision.allow with input as samples.approval

test_own_transfer if {
	codes == ["attribute.own_approval"] with input as samples.bend(samples.approval, "/subject/id", "alice")
}

test_approver_has_a_limit if {
	codes == ["attribute.amount_limit"] with input as samples.bend(
		samples.approval,
		"/resource/properties/amount", 1000001,
	)
}

test_operator_does_not_approve if {
	codes[0] == "role.permission_missing" with input as samples.bend(
		samples.approval,
		"/subject/properties/roles", ["wire-operator"],
	)
}

test_other_domains_action if codes == ["role.action_unknown"] with input as samples.transfer

test_nothing_known_denies if approvals.decision.allow == false with input as {}

codes := [reason.code | some reason in approvals.decision.reasons]
