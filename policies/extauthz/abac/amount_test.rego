package extauthz.abac.amount_test

import data.extauthz.abac.amount
import data.extauthz.lib.samples_test as samples

test_within_the_limit_passes if {
	every value in {0.01, 1, 1200.5, 49999.99, 50000} {
		amount.outcome == "pass" with input as of(value)
	}
}

test_above_the_limit if {
	every value in {50000.01, 50001, 1e18, 1e300} {
		amount.outcome.code == "attribute.amount_limit" with input as of(value)
	}
}

test_not_a_positive_number if {
	every value in {0, -1, -0.01, "100", "1e3", "NaN", "", null, true, [100], {"amount": 100}} {
		amount.outcome.code == "attribute.amount_invalid" with input as of(value)
	}
}

test_missing if {
	every pointer in {"/resource/properties/amount", "/resource/properties/currency"} {
		amount.outcome.code == "attribute.missing" with input as samples.without(samples.transfer, pointer)
	}
	amount.outcome.code == "attribute.missing" with input as {}
}

test_limit_is_per_currency if {
	amount.outcome.code == "attribute.amount_limit" with input as json.patch(samples.transfer, [
		{"op": "add", "path": "/resource/properties/amount", "value": 45000},
		{"op": "add", "path": "/resource/properties/currency", "value": "GBP"},
	])
	every value in {"JPY", "eur", "XXX"} {
		amount.outcome.code == "attribute.currency" with input as samples.bend(
			samples.transfer,
			"/resource/properties/currency", value,
		)
	}
}

test_limit_is_per_transaction_type if {
	amount.outcome == "pass" with input as samples.bend(of(90000), "/resource/properties/transaction_type", "sepa")
	amount.outcome.code == "attribute.currency" with input as samples.bend(
		of(90),
		"/resource/properties/transaction_type", "card",
	)
}

test_highest_role_decides if {
	amount.outcome == "pass" with input as samples.bend(
		of(4000000),
		"/subject/properties/roles", ["wire-operator", "treasury-operator"],
	)
}

test_no_role_no_limit if {
	amount.outcome.code == "attribute.currency" with input as samples.bend(of(1), "/subject/properties/roles", [])
}

test_malformed_limit_is_none if {
	amount.outcome.code == "attribute.currency" with input as of(1)
		with data.extauthz.tables.limits.per_role as {"wire-operator": {"wire": {"EUR": "unlimited"}}}
}

of(value) := samples.bend(samples.transfer, "/resource/properties/amount", value)
