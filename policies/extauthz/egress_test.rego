package extauthz.egress_test

import data.extauthz.egress
import data.extauthz.lib.samples_test as samples

call := json.patch(samples.score, [
	{"op": "add", "path": "/action/name", "value": "zone.call"},
	{"op": "add", "path": "/resource", "value": {"type": "zone", "id": "model"}},
])

test_orchestrator_calls_model if egress.decision == {"allow": true, "obligations": {}, "ttl": 10} with input as call

test_orchestrator_calls_no_storage if {
	some reason in egress.decision.reasons with input as samples.bend(call, "/resource/id", "storage")
	reason.code == "workload.egress_denied"
}

test_other_action if {
	some reason in egress.decision.reasons with input as samples.bend(call, "/action/name", "score.create")
	reason.code == "role.action_unknown"
}
