# METADATA
# title: Inputs that are allowed, for tests to bend
package extauthz.lib.samples_test

# METADATA
# description: The document with the value at a JSON pointer set.
bend(document, pointer, value) := json.patch(document, [{"op": "add", "path": pointer, "value": value}])

# METADATA
# description: The document without what stands at a JSON pointer.
without(document, pointer) := json.remove(document, [pointer])

id(environment, zone, service) := sprintf("spiffe://bank.example/env/%s/ns/%s/sa/%s", [environment, zone, service])

gateway := {"id": id("prod", "edge", "gateway")}

orchestrator := {"id": id("prod", "orchestration", "orchestrator")}

scorer := {"id": id("prod", "model", "fraud-scorer")}

retrainer := {"id": id("prod", "training", "retrainer")}

alice := {"type": "user", "id": "alice", "properties": {
	"roles": ["wire-operator"],
	"tenant": "acme",
	"region": "eu",
	"purpose": "payment",
	"clearance": "confidential",
}}

# METADATA
# description: A wire transfer at the edge, where users call without a workload.
transfer := {
	"subject": alice,
	"action": {"name": "transfer.create"},
	"resource": {"type": "transfer", "id": "T-1", "properties": {
		"tenant": "acme",
		"region": "eu",
		"amount": 1200.5,
		"currency": "EUR",
		"transaction_type": "wire",
	}},
	"context": {"environment": "prod"},
}

approval := json.patch(transfer, [
	{"op": "replace", "path": "/subject/id", "value": "bob"},
	{"op": "replace", "path": "/subject/properties/roles", "value": ["wire-approver"]},
	{"op": "replace", "path": "/subject/properties/purpose", "value": "approval"},
	{"op": "replace", "path": "/action/name", "value": "transfer.approve"},
	{"op": "add", "path": "/resource/properties/created_by", "value": "alice"},
])

score := {
	"subject": alice,
	"action": {"name": "score.create"},
	"resource": {"type": "model", "id": "fraud", "properties": {
		"tenant": "acme",
		"region": "eu",
		"model": {"name": "fraud", "version": "3.1.0", "stage": "production"},
	}},
	"context": {"environment": "prod", "workload": orchestrator},
}

# METADATA
# description: Feature rows, read by the scorer on alice's behalf.
features := {
	"subject": alice,
	"action": {"name": "features.read"},
	"resource": {"type": "features", "id": "acme/wire", "properties": {
		"tenant": "acme",
		"region": "eu",
		"transaction_type": "wire",
		"data_class": "confidential",
	}},
	"context": {"environment": "prod", "workload": scorer},
}

# METADATA
# description: Training data, read by a batch job in its own name.
dataset := {
	"subject": {"type": "workload", "id": retrainer.id},
	"action": {"name": "dataset.read"},
	"resource": {"type": "dataset", "id": "tx-2026", "properties": {
		"tenant": "acme",
		"region": "eu",
		"masked": true,
		"dataset": {"name": "tx-2026", "classification": "restricted", "retention_days": 30, "age_days": 10},
	}},
	"context": {"environment": "prod", "workload": retrainer},
}
