package extauthz.workload.egress_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.workload.egress

call := json.patch(samples.score, [{"op": "add", "path": "/resource", "value": {"type": "zone", "id": "model"}}])

test_listed_zone_passes if egress.outcome == "pass" with input as call

test_other_zone if {
	every value in {"storage", "", null} {
		egress.outcome.code == "workload.egress_denied" with input as samples.bend(call, "/resource/id", value)
	}
}

test_unregistered_calls_nobody if {
	egress.outcome.code == "workload.unregistered" with input as samples.bend(
		call,
		"/context/workload/id", "spiffe://bank.example/env/prod/ns/model/sa/rogue",
	)
}
