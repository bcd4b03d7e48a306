package extauthz.abac.transaction_test

import data.extauthz.abac.transaction
import data.extauthz.lib.samples_test as samples

test_type_of_the_role_passes if transaction.outcome == "pass" with input as samples.transfer

test_other_type if transaction.outcome.code == "attribute.transaction_type" with input as typed("card")

test_any_role_will_do if {
	transaction.outcome == "pass" with input as samples.bend(
		typed("card"),
		"/subject/properties/roles", ["wire-operator", "card-operator"],
	)
}

test_missing_or_malformed if {
	every value in {null, "", 7, ["wire"]} {
		transaction.outcome.code == "attribute.missing" with input as typed(value)
	}
	transaction.outcome.code == "attribute.missing" with input as samples.without(
		samples.transfer,
		"/resource/properties/transaction_type",
	)
}

typed(value) := samples.bend(samples.transfer, "/resource/properties/transaction_type", value)
