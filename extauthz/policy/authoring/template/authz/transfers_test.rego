package authz.transfers_test

import data.authz.transfers

test_small_transfer_is_allowed if transfers.decision.allow with input as asked({})

test_other_roles_are_denied if {
	code(asked({"/subject/properties/roles": ["viewer"]})) == "role.permission_missing"
	code(asked({"/subject/properties/roles": []})) == "role.permission_missing"
}

test_tenants_do_not_cross if code(asked({"/resource/properties/tenant": "globex"})) == "attribute.tenant_mismatch"

test_limit_is_the_last_amount_allowed if {
	transfers.decision.allow with input as asked({"/resource/properties/amount": 10000})
	code(asked({"/resource/properties/amount": 10000.01})) == "attribute.amount_limit"
}

test_amount_must_be_a_positive_number if {
	every amount in [0, -1, "10", null] {
		code(asked({"/resource/properties/amount": amount})) == "attribute.amount_limit"
	}
}

test_unknown_currency_has_no_limit if code(asked({"/resource/properties/currency": "XXX"})) == "attribute.amount_limit"

test_nothing_known_is_denied if not transfers.decision.allow with input as {}

code(document) := reason if {
	not transfers.decision.allow with input as document
	reason := transfers.decision.reasons[0].code with input as document
}

# A request that is allowed, with values replaced by their JSON pointer.
asked(changes) := json.patch(
	{
		"subject": {"type": "user", "id": "alice", "properties": {"roles": ["transfer-clerk"], "tenant": "acme"}},
		"action": {"name": "transfer.create"},
		"resource": {
			"type": "transfer",
			"id": "T-1",
			"properties": {"tenant": "acme", "amount": 120, "currency": "EUR"},
		},
		"context": {"route": "create-transfer", "environment": "prod"},
	},
	[{"op": "add", "path": path, "value": value} | some path, value in changes],
)
