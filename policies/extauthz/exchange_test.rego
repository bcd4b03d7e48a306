package extauthz.exchange_test

import data.extauthz.exchange
import data.extauthz.lib.samples_test as samples

hop := {
	"subject": {"type": "user", "id": "alice", "properties": {"tenant": "acme"}},
	"action": {"name": "token.exchange"},
	"resource": {"type": "audience", "id": "https://risk-explanation.bank.example"},
	"context": {
		"environment": "prod",
		"workload": samples.orchestrator,
		"exchange": {"scopes": ["scores.explain"], "purpose": "risk-explanation", "kind": "access_token", "depth": 2},
	},
}

own := json.patch(hop, [
	{"op": "replace", "path": "/subject", "value": {"type": "workload", "id": samples.retrainer.id}},
	{"op": "replace", "path": "/action/name", "value": "token.issue"},
	{"op": "replace", "path": "/resource/id", "value": "https://storage.bank.example"},
	{"op": "replace", "path": "/context/workload", "value": samples.retrainer},
	{"op": "replace", "path": "/context/exchange", "value": {
		"scopes": ["datasets.read"],
		"purpose": "training",
		"kind": "access_token",
		"depth": 0,
	}},
])

junk := [null, "", "*", "nonsense", -1, "0", [], {}, [[]], {"": ""}, false]

test_hop_passes if exchange.decision == {"allow": true, "obligations": {}, "ttl": 0} with input as hop

test_own_token_passes if exchange.decision.allow with input as own

test_no_scope_is_fewer_than_any if {
	exchange.decision.allow with input as samples.bend(hop, "/context/exchange/scopes", [])
}

test_audience_of_another_hop if {
	"workload.exchange_denied" in codes with input as samples.bend(hop, "/resource/id", "https://storage.bank.example")
}

test_unregistered_and_other_environment if {
	rogue := samples.bend(hop, "/context/workload/id", samples.id("prod", "orchestration", "rogue"))
	codes[0] == "workload.unregistered" with input as rogue
	codes[0] == "workload.environment" with input as samples.bend(hop, "/context/environment", "staging")
}

test_workload_does_not_act_for_itself_or_as_another if {
	codes == ["role.exchange_subject"] with input as samples.bend(hop, "/subject", {
		"type": "user",
		"id": samples.orchestrator.id,
	})
	codes == ["role.exchange_subject"] with input as samples.bend(own, "/subject/id", "alice")
	codes == ["role.exchange_subject"] with input as samples.bend(own, "/action/name", "token.exchange")
	codes == ["role.exchange_subject"] with input as samples.bend(hop, "/action/name", "token.issue")
}

test_batch_job_has_no_user_token if {
	codes == ["role.exchange_subject"] with input as json.patch(own, [
		{"op": "replace", "path": "/subject", "value": {"type": "user", "id": "alice"}},
		{"op": "replace", "path": "/action/name", "value": "token.exchange"},
	])
}

test_what_the_token_holds if {
	codes == ["attribute.exchange_scope"] with input as samples.bend(hop, "/context/exchange/scopes/0", "scores.write")
	codes == ["attribute.exchange_purpose"] with input as samples.bend(hop, "/context/exchange/purpose", "payment")
	codes == ["attribute.exchange_kind"] with input as samples.bend(hop, "/context/exchange/kind", "transaction_token")
	codes == ["attribute.exchange_depth"] with input as samples.bend(hop, "/context/exchange/depth", 3)
}

test_other_action if codes == ["role.action_unknown"] with input as samples.transfer

test_missing_or_malformed_denies if {
	every document in [hop, own] {
		every pointer in [
			"/subject/type", "/subject/id", "/action/name", "/resource/type", "/resource/id", "/context/environment",
			"/context/workload/id", "/context/exchange/scopes", "/context/exchange/purpose", "/context/exchange/kind",
			"/context/exchange/depth",
		] {
			denied(samples.without(document, pointer))
			every value in junk {
				bent := samples.bend(document, pointer, value)
				denied(bent) == harmful(document, pointer, value)
			}
		}
	}
	exchange.decision.allow == false with input as {}
}

test_rows_name_workloads_and_chains_that_are_possible if {
	every workload, audiences in data.extauthz.tables.exchanges {
		data.extauthz.tables.workloads[workload]
		every row in audiences {
			row.depth <= 8
			count(row.purposes) > 0
			count(row.subjects) > 0
		}
	}
}

denied(document) if {
	exchange.decision.allow == false with input as document
} else := false

# A subject may be called anything, as long as it is not the workload; no scopes are fewer than any.
harmful(document, "/subject/id", _) := document.action.name == "token.issue"

harmful(_, "/context/exchange/scopes", value) := value != []

harmful(_, pointer, _) if not pointer in {"/subject/id", "/context/exchange/scopes"}

codes := [reason.code | some reason in exchange.decision.reasons]
