package extauthz.lib.caller_test

import data.extauthz.lib.caller
import data.extauthz.lib.samples_test as samples

test_registered if {
	caller.registered.zone == "model" with input as samples.features
	not caller.absent with input as samples.features
}

test_unregistered if {
	unregistered := samples.bend(samples.features, "/context/workload/id", "spiffe://bank.example/rogue")
	not caller.registered with input as unregistered
	not caller.absent with input as unregistered
}

test_absent if {
	caller.absent with input as samples.transfer
	caller.absent with input as {}
	not caller.registered with input as samples.transfer
}
