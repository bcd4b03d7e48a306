package extauthz.abac.four_eyes_test

import data.extauthz.abac.four_eyes
import data.extauthz.lib.samples_test as samples

test_small_amount_passes if four_eyes.outcome == "pass" with input as of(10000)

test_large_amount_needs_approval if four_eyes.outcome.code == "attribute.four_eyes" with input as of(10000.01)

test_approved_amount_passes if four_eyes.outcome == "pass" with input as approved(1)

test_malformed_approvals_are_none if {
	every value in {0, 0.99, -1, "1", true, null, ["bob"], {}} {
		four_eyes.outcome.code == "attribute.four_eyes" with input as approved(value)
	}
}

test_no_threshold_means_always if {
	every pointer in {"/resource/properties/currency", "/resource/properties/transaction_type"} {
		four_eyes.outcome.code == "attribute.four_eyes" with input as samples.bend(of(1), pointer, "XXX")
		four_eyes.outcome.code == "attribute.four_eyes" with input as samples.without(of(1), pointer)
	}
}

test_malformed_amount_is_large if {
	every value in {"1", null, false, []} {
		four_eyes.outcome.code == "attribute.four_eyes" with input as of(value)
	}
}

of(value) := samples.bend(samples.transfer, "/resource/properties/amount", value)

approved(value) := samples.bend(of(40000), "/resource/properties/approvals", value)
