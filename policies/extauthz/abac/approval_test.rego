package extauthz.abac.approval_test

import data.extauthz.abac.approval
import data.extauthz.lib.samples_test as samples

test_another_person_passes if approval.outcome == "pass" with input as samples.approval

test_own_transfer if {
	approval.outcome.code == "attribute.own_approval" with input as samples.bend(
		samples.approval,
		"/resource/properties/created_by", "bob",
	)
}

test_missing_or_malformed if {
	every pointer in {"/resource/properties/created_by", "/subject/id"} {
		every value in {null, "", 7, ["alice"]} {
			approval.outcome.code == "attribute.missing" with input as samples.bend(samples.approval, pointer, value)
		}
		approval.outcome.code == "attribute.missing" with input as samples.without(samples.approval, pointer)
	}
}
